//! A request's head, apart from the buffer that its connection reads into.

use axum::extract::Request;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Uri, header, uri::PathAndQuery};
use hyper::body::Body as _;

use super::names::TOKEN;

/// Copies the head of a request that carries neither a token nor a body.
///
/// A head is slices of the buffer that its connection reads into, and as long as one of them is there, hyper
/// takes another buffer of 8 KiB for what comes next; this one is zeroed then, and given back. So it is for
/// whatever may be secret. A read by address holds nothing of the kind, and leaves the buffer to the next request.
pub(super) fn take_from_buffer(request: &mut Request) {
    if !request.body().is_end_stream() || names_somebody(request.headers()) {
        return;
    }
    let path = match (request.uri().authority(), request.uri().path_and_query()) {
        (None, Some(path)) => path.as_str(),
        _ => return,
    };
    let values = request.headers().values();
    let bytes = values.map(HeaderValue::len).sum::<usize>() + path.len();
    let mut copied = BytesMut::with_capacity(bytes);
    copied.extend_from_slice(path.as_bytes());
    let path = path.len();
    for value in request.headers().values() {
        copied.extend_from_slice(value.as_bytes());
    }
    let mut copied = copied.freeze();
    if let Ok(path) = PathAndQuery::from_maybe_shared(copied.split_to(path)) {
        *request.uri_mut() = Uri::from(path);
    }
    for value in request.headers_mut().values_mut() {
        put(value, copied.split_to(value.len()));
    }
}

/// Whether a header may hold what lets somebody in.
fn names_somebody(headers: &HeaderMap) -> bool {
    let named = [
        header::AUTHORIZATION,
        header::PROXY_AUTHORIZATION,
        header::COOKIE,
    ];
    headers.contains_key(TOKEN) || named.iter().any(|name| headers.contains_key(name))
}

/// The same bytes from elsewhere: what was a value is one.
fn put(value: &mut HeaderValue, copied: Bytes) {
    if let Ok(mut copy) = HeaderValue::from_maybe_shared(copied) {
        copy.set_sensitive(value.is_sensitive());
        *value = copy;
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    const READ: &str = "/v1/secrets/app/db?version=3";

    /// A request whose head is one buffer, as hyper makes it, and that buffer.
    fn read(path: &'static [u8], token: bool, body: Body) -> (Request, Bytes) {
        let buffer = Bytes::from([path, b"127.0.0.1:8200srt_0123456789abcdefghij"].concat());
        let (host, token_at) = (path.len(), path.len() + 14);
        let mut request = Request::new(body);
        *request.uri_mut() = Uri::from_maybe_shared(buffer.slice(..host)).unwrap();
        let value = |from, to| HeaderValue::from_maybe_shared(buffer.slice(from..to)).unwrap();
        let headers = request.headers_mut();
        headers.insert("host", value(host, token_at));
        headers.append("x-more", value(host, token_at - 5));
        headers.append("x-more", value(host, host));
        if token {
            headers.insert("x-vault-token", value(token_at, buffer.len()));
        }
        (request, buffer)
    }

    #[test]
    fn a_read_leaves_the_buffer_and_stays_what_it_was() {
        for path in [READ.as_bytes(), b"/", b"/v1/secrets/%61%2f?x="] {
            let (mut request, buffer) = read(path, false, Body::empty());
            let before = (
                request.uri().clone().to_string(),
                format!("{:?}", request.headers()),
            );
            assert!(!buffer.is_unique());
            take_from_buffer(&mut request);
            assert!(buffer.is_unique());
            let after = (
                request.uri().to_string(),
                format!("{:?}", request.headers()),
            );
            assert_eq!(after, before);
        }
    }

    #[test]
    fn what_may_be_secret_stays_where_it_is_zeroed_with_the_request() {
        let with_body = || Body::from("{}");
        for (token, body) in [
            (true, Body::empty()),
            (false, with_body()),
            (true, with_body()),
        ] {
            let (mut request, buffer) = read(READ.as_bytes(), token, body);
            take_from_buffer(&mut request);
            assert!(!buffer.is_unique());
        }
        for name in ["authorization", "cookie", "proxy-authorization"] {
            let (mut request, buffer) = read(READ.as_bytes(), false, Body::empty());
            let mine = HeaderValue::from_static("x");
            request.headers_mut().insert(name, mine);
            take_from_buffer(&mut request);
            assert!(!buffer.is_unique(), "{name}");
        }
    }

    #[test]
    fn a_request_to_a_proxy_keeps_its_address() {
        let (mut request, _) = read(b"http://a.example/v1/secrets/x", false, Body::empty());
        take_from_buffer(&mut request);
        assert_eq!(request.uri().to_string(), "http://a.example/v1/secrets/x");
    }
}
