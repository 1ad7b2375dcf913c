//! One request, taken apart once: everything a handler needs, in types.

use std::{
    net::IpAddr,
    sync::{Arc, OnceLock},
    time::Instant,
};

use axum::{
    body::Body,
    extract::{Request, State},
    routing::{MethodFilter, MethodRouter, on},
};
use futures_util::FutureExt;
use http::{HeaderMap, Uri, header};
use hyper::body::Body as _;
use strongroom_core::{SecretName, allowlist::canonical};
use strongroom_seal::AdminToken;
use strongroom_service::{
    RequestContext, VaultError,
    authorize::Presented,
    context::{IdempotencyKey, Seen},
    secrets::native_name,
};

use super::{
    App,
    answer::{self, Answer},
    body::{self, BodyBytes},
    carried::{Run, to_its_end},
    client,
    names::{IDEMPOTENCY_KEY, TOKEN},
};

/// Where a connection comes from.
#[derive(Clone, Copy, Debug)]
pub struct PeerAddress {
    /// Its other end.
    pub peer: IpAddr,
    /// Whom it was made for; the other end itself, unless a PROXY header says otherwise.
    pub client: IpAddr,
}

/// When a request came, from where, and its id: put into its extensions.
#[derive(Clone)]
pub(super) struct Arrival {
    pub(super) request_id: Arc<str>,
    pub(super) from: PeerAddress,
    pub(super) began: Instant,
    pub(super) seen: Seen,
    pub(super) route: RouteCell,
}

/// The path of the route that a request took, as the table of routes has it: for the metrics, whose
/// labels are bounded by that table.
pub(super) type RouteCell = Arc<OnceLock<&'static str>>;

/// A request, taken apart.
pub(crate) struct Call {
    pub(crate) context: RequestContext,
    pub(crate) token: Presented,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: BodyBytes,
}

/// Makes a route's handler from a function of the app and the call.
pub(crate) fn endpoint<F, Fut>(
    filter: MethodFilter,
    path: &'static str,
    handler: F,
    run: Run,
) -> MethodRouter<Arc<App>>
where
    F: Fn(Arc<App>, Box<Call>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Answer> + Send + 'static,
{
    // One for each: what answers in both ways has a place for both.
    match run {
        Run::Attached => routed(filter, move |app, request| {
            let (taken, handler) = (take_apart(&app, path, request), handler.clone());
            async move {
                let call = whole(&app, taken).await?;
                handler(app, call).await
            }
        }),
        Run::ToItsEnd(pool) => routed(filter, move |app, request| {
            let (taken, handler) = (take_apart(&app, path, request), handler.clone());
            async move {
                let call = whole(&app, taken).await?;
                let work = Box::pin(handler(Arc::clone(&app), call));
                to_its_end(&app, pool, work).await
            }
        }),
    }
}

/// The same for a handler that takes the body in by itself: it sees to its bounds, and to whether the
/// client may send one.
pub(crate) fn streaming<F, Fut>(
    filter: MethodFilter,
    path: &'static str,
    handler: F,
) -> MethodRouter<Arc<App>>
where
    F: Fn(Arc<App>, Box<Call>, Body) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Answer> + Send + 'static,
{
    routed(filter, move |app, request| {
        let (taken, handler) = (take_apart(&app, path, request), handler.clone());
        async move {
            let (call, body) = admitted(&app, taken).await?;
            handler(app, call, body).await
        }
    })
}

fn routed<F, Fut>(filter: MethodFilter, answered: F) -> MethodRouter<Arc<App>>
where
    F: Fn(Arc<App>, Request) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Answer> + Send + 'static,
{
    on(
        filter,
        move |State(app): State<Arc<App>>, request: Request| {
            answered(app, request)
                .map(|answered| answered.unwrap_or_else(|error| answer::error(&error)))
        },
    )
}

/// A request, taken apart, and its body.
type Taken = Result<(Box<Call>, Body), NotTaken>;

/// Why a request is not.
enum NotTaken {
    /// It is no request that this server takes.
    Not(VaultError),
    /// Its address cannot be told, or its page is another's: for the record, with what tells.
    Refused(Box<RequestContext>, &'static str),
}

/// Everything but the body.
fn take_apart(app: &App, path: &'static str, request: Request) -> Taken {
    let (mut parts, body) = request.into_parts();
    let Some(arrival) = parts.extensions.remove::<Arrival>() else {
        // Whoever does not say who is calling must not serve anybody.
        return Err(NotTaken::Not(VaultError::AddressNotAllowed));
    };
    // Nobody else does: a request takes one route.
    let _ = arrival.route.set(path);
    let PeerAddress { peer, client } = arrival.from;
    let mut context = RequestContext::of_client(
        arrival.request_id,
        canonical(client),
        canonical(peer),
        arrival.began + app.request_timeout,
        arrival.seen,
    );
    match client::client_address(client, &parts.headers, app.trusted_proxies.as_ref()) {
        Ok(client_ip) => context.client_ip = client_ip,
        Err(client::NoAddress) => {
            return Err(NotTaken::Refused(Box::new(context), "x-forwarded-for"));
        }
    }
    if let Err(why) = app.origins.admit(&parts.headers) {
        return Err(NotTaken::Refused(Box::new(context), why));
    }
    let token = presented(&parts.headers);
    let key = parts.headers.get(IDEMPOTENCY_KEY);
    let key = key.map(|key| IdempotencyKey::parse(key.to_str().unwrap_or_default()));
    context.idempotency_key = key.transpose().map_err(NotTaken::Not)?;
    let call = Call {
        context,
        token,
        uri: parts.uri,
        headers: parts.headers,
        body: BodyBytes::default(),
    };
    Ok((Box::new(call), body))
}

/// What was taken apart; a refusal once it is on the record.
async fn admitted(app: &App, taken: Taken) -> Result<(Box<Call>, Body), VaultError> {
    match taken {
        Ok(taken) => Ok(taken),
        Err(NotTaken::Not(error)) => Err(error),
        Err(NotTaken::Refused(context, why)) => {
            Box::pin(app.vault.refuse_address(&context, why)).await
        }
    }
}

/// The call with its body.
async fn whole(app: &App, taken: Taken) -> Result<Box<Call>, VaultError> {
    let (mut call, body) = admitted(app, taken).await?;
    if !body.is_end_stream() {
        Box::pin(call.take_in(app, body)).await?;
    }
    Ok(call)
}

fn presented(headers: &HeaderMap) -> Presented {
    // Another scheme is somebody else's business: a proxy's, mostly.
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| {
        let (scheme, token) = value.as_bytes().split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"bearer ").then_some(token)
    });
    let given = bearer.or_else(|| headers.get(TOKEN).map(|value| value.as_bytes()));
    match given.map(AdminToken::parse) {
        None => Presented::Nothing,
        Some(Ok(token)) => Presented::Token(token),
        Some(Err(_)) => Presented::Malformed,
    }
}

impl Call {
    /// Where the call comes from; what else there is of it is let go of.
    pub(crate) fn into_context(self: Box<Self>) -> Box<RequestContext> {
        Box::new(self.context)
    }

    /// Takes the body in, as far as a body may be.
    async fn take_in(&mut self, app: &App, body: Body) -> Result<(), VaultError> {
        let client = self.context.client_ip;
        let arrives = body::read(&self.headers, body, &app.body_places, client);
        let arrived = tokio::time::timeout(self.context.left(), arrives).await;
        let late = |_| VaultError::invalid("the body did not arrive in time");
        self.body = arrived.map_err(late)??;
        Ok(())
    }

    /// What follows `prefix` in the path, decoded once, as text that is no longer encoded.
    pub(crate) fn tail(&self, prefix: &str) -> Result<String, VaultError> {
        decode(self.uri.path().strip_prefix(prefix).unwrap_or_default())
    }

    /// The name of a secret from what follows `prefix` in the path.
    pub(crate) fn secret_name(&self, prefix: &str) -> Result<SecretName, VaultError> {
        native_name(&self.tail(prefix)?)
    }

    /// One parameter of the query; the last one given counts.
    pub(crate) fn query(&self, wanted: &str) -> Result<Option<String>, VaultError> {
        let query = self.uri.query().unwrap_or_default();
        let mut found = None;
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if key == wanted {
                // In a query a slash may be encoded, and a plus is a space: names hold no spaces.
                found = Some(percent_decode(value)?);
            }
        }
        Ok(found)
    }

    /// A whole number in the query.
    pub(crate) fn number<T: std::str::FromStr>(
        &self,
        wanted: &str,
    ) -> Result<Option<T>, VaultError> {
        self.query(wanted)?
            .map(|text| {
                text.parse()
                    .map_err(|_| VaultError::Invalid(format!("{wanted} must be a number")))
            })
            .transpose()
    }

    /// `?limit=`, the largest page if it is not there.
    pub(crate) fn limit(&self) -> Result<usize, VaultError> {
        let limit = self
            .number("limit")?
            .unwrap_or(strongroom_core::limits::PAGE_ROWS);
        if limit == 0 {
            return Err(VaultError::invalid("limit must be at least 1"));
        }
        Ok(limit.min(strongroom_core::limits::PAGE_ROWS))
    }
}

/// Percent-decodes a path once. `%2f` is refused: it would move the border between segments.
fn decode(path: &str) -> Result<String, VaultError> {
    if path
        .as_bytes()
        .windows(3)
        .any(|three| three.eq_ignore_ascii_case(b"%2f"))
    {
        return Err(VaultError::invalid("a name must not hold an encoded slash"));
    }
    percent_decode(path)
}

fn percent_decode(text: &str) -> Result<String, VaultError> {
    let malformed = || VaultError::invalid("malformed percent-encoding");
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || {
            bytes
                .next()
                .and_then(|c| char::from(c).to_digit(16))
                .ok_or_else(malformed)
        };
        let (high, low) = (digit()?, digit()?);
        decoded.push(u8::try_from(high * 16 + low).map_err(|_| malformed())?);
    }
    String::from_utf8(decoded).map_err(|_| malformed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_decoded_once() {
        assert_eq!(decode("a%2Db").unwrap(), "a-b");
        assert_eq!(decode("a%252e").unwrap(), "a%2e");
        assert_eq!(decode("a%00").unwrap(), "a\0");
        for bad in ["a%2fb", "a%2Fb", "%", "%2", "%zz", "%ff"] {
            assert!(decode(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn both_spellings_of_a_token_are_taken() {
        let token = "srt_0123456789abcdefghij";
        let headers = |name: &'static str, value: &str| {
            HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())])
        };
        for (name, value) in [
            ("authorization", format!("Bearer {token}")),
            ("authorization", format!("bearer {token}")),
            ("x-vault-token", token.to_owned()),
        ] {
            assert!(
                matches!(presented(&headers(name, &value)), Presented::Token(_)),
                "{value}"
            );
        }
        for (name, value) in [("authorization", "Bearer x"), ("x-vault-token", "x")] {
            assert!(
                matches!(presented(&headers(name, value)), Presented::Malformed),
                "{value}"
            );
        }
        for other in ["Basic abc", ""] {
            let mut both = headers("authorization", other);
            assert!(matches!(presented(&both), Presented::Nothing), "{other}");
            both.insert("x-vault-token", token.parse().unwrap());
            assert!(matches!(presented(&both), Presented::Token(_)), "{other}");
        }
        assert!(matches!(presented(&HeaderMap::new()), Presented::Nothing));
    }
}
