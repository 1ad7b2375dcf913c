//! A connection to one node.

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use reqwest::{Certificate, Url};

use crate::{ClientError, Token};

const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// A little longer than a server takes at most by default.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// How often a request in doubt is sent again.
const RETRIES: u32 = 2;

/// A client of one cluster, through any of its nodes. Cheap to clone; connections are shared, and so is
/// what was seen of the replicated state.
#[derive(Clone)]
pub struct Client {
    pub(crate) http: reqwest::Client,
    pub(crate) base: String,
    pub(crate) token: Option<Arc<Token>>,
    pub(crate) seen: Arc<AtomicU64>,
    pub(crate) answer_within: Duration,
    pub(crate) retries: u32,
}

impl Client {
    /// A client of the node at `address`, such as `https://strongroom.internal:8200`, with the
    /// certificates that this machine trusts.
    ///
    /// # Errors
    /// [`ClientError::Unusable`] if that is no address, or no HTTP client can be made.
    pub fn new(address: &str) -> Result<Self, ClientError> {
        Self::builder(address).build()
    }

    /// A client that is not made yet, to say more about it.
    pub fn builder(address: &str) -> Builder {
        Builder {
            address: address.to_owned(),
            ca: None,
            answer_within: ANSWER_WITHIN,
            retries: RETRIES,
        }
    }

    /// The same client with a token, for what needs one.
    #[must_use]
    pub fn with_token(mut self, token: Token) -> Self {
        self.token = Some(Arc::new(token));
        self
    }

    /// The address that it asks.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.base
    }
}

/// What can be said about a client before it is made.
#[must_use]
pub struct Builder {
    address: String,
    ca: Option<Vec<u8>>,
    answer_within: Duration,
    retries: u32,
}

impl Builder {
    /// Trusts the certificates in this PEM text, and no others.
    pub fn ca_pem(mut self, pem: &[u8]) -> Self {
        self.ca = Some(pem.to_owned());
        self
    }

    /// How long an answer may take; 30 seconds. Waits, backups and restores have their own time.
    pub fn answer_within(mut self, within: Duration) -> Self {
        self.answer_within = within;
        self
    }

    /// How often a request whose outcome is in doubt is sent again; twice.
    pub fn retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }

    /// The client.
    ///
    /// # Errors
    /// [`ClientError::Unusable`] if the address is none, the certificates are none, or no HTTP client
    /// can be made.
    pub fn build(self) -> Result<Client, ClientError> {
        let unusable = |why: &str| ClientError::Unusable(format!("{:?} {why}", self.address));
        let url = Url::parse(&self.address);
        let url = url.map_err(|_| unusable("is no address such as https://host:8200"))?;
        if !["http", "https"].contains(&url.scheme()) || !url.has_host() {
            return Err(unusable("is no address such as https://host:8200"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            // Not repeated: that may well be a password.
            let why = "an address must not hold a user or a password";
            return Err(ClientError::Unusable(why.to_owned()));
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(unusable("must end after the port"));
        }
        let mut http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_WITHIN);
        if let Some(pem) = &self.ca {
            let found = Certificate::from_pem_bundle(pem).unwrap_or_default();
            if found.is_empty() {
                let why = "there is no certificate in the CA file";
                return Err(ClientError::Unusable(why.to_owned()));
            }
            http = http.tls_certs_only(found);
        }
        let http = http.build().map_err(|_| {
            ClientError::Unusable("this machine's certificates cannot be used".to_owned())
        })?;
        Ok(Client {
            http,
            base: self.address.trim_end_matches('/').to_owned(),
            token: None,
            seen: Arc::default(),
            answer_within: self.answer_within,
            retries: self.retries,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_address_is_refused_and_a_password_not_repeated() {
        for bad in [
            "",
            "host:8200",
            "ftp://host",
            "http://",
            "http://h/v1",
            "http://h?x",
        ] {
            let error = Client::new(bad).err();
            assert!(matches!(error, Some(ClientError::Unusable(_))), "{bad}");
        }
        let error = Client::new("http://user:hunter2@h").err().unwrap();
        assert!(!error.to_string().contains("hunter2"), "{error}");
        assert!(Client::new("http://[::1]:8200/").is_ok());
        let no_certificate = Client::builder("https://h").ca_pem(b"x").build();
        assert!(matches!(no_certificate, Err(ClientError::Unusable(_))));
    }
}
