//! Where traces go: `VAULT_OTLP_ENDPOINT`.

use http::Uri;

use super::shapes::Shape;

/// A collector's URL without credentials.
pub(super) struct OtlpUrl;

impl Shape for OtlpUrl {
    type Out = String;
    fn describe(&self) -> String {
        "a URL, as in `http://127.0.0.1:4318` or `https://collector.example`, without credentials, query or \
         `/v1/traces`"
            .into()
    }
    fn parse(&self, text: &str) -> Result<String, Vec<String>> {
        let fits = |uri: &Uri| {
            let host = uri.host().is_some_and(|host| !host.is_empty());
            let plain = uri.authority().is_some_and(|a| !a.as_str().contains('@'));
            let scheme = matches!(uri.scheme_str(), Some("http" | "https"));
            let whole = uri.path().trim_end_matches('/').ends_with("/v1/traces");
            host && plain && scheme && uri.query().is_none() && !whole && !text.contains('#')
        };
        match text.parse::<Uri>() {
            Ok(uri) if fits(&uri) => Ok(text.to_owned()),
            _ => self.refuse(),
        }
    }
}
