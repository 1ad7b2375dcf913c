//! PostgreSQL as a target: a role changes its own password, and needs no privilege for it.
//!
//! The change is sent as a SCRAM-SHA-256 verifier (RFC 5802, as PostgreSQL stores it) and not as the
//! password, so that neither the server's log nor its statistics can hold it.
//!
//! That a login works must prove its password. With TLS, channel binding is required, which rules out
//! every method but SCRAM. Without it, a wrong password is tried as well, which must be refused.
//!
//! A role may be set up to act as another by default (`ALTER ROLE … SET role`), or to look names up in
//! schemas of its own: so the session returns to who signed in, and names are qualified.
//!
//! The change is one transaction whose session the server itself ends: `idle_in_transaction_session_timeout`
//! and `statement_timeout` bound how long an attempt of a process that stands still, or is gone, can
//! still have an effect.

use std::time::{Duration, Instant};

use strongroom_core::{PathPattern, SecretName, name::DEFAULT_MOUNT};
use strongroom_seal::Plaintext;
use strongroom_service::targets::{Login, SESSION_LIVES, TargetError, TargetFuture, TargetSession};
use tokio::time::timeout;
use tokio_postgres::{
    Client, Config, NoTls, SimpleQueryMessage,
    config::{ChannelBinding, SslMode},
    error::{Error, SqlState},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::tls;
use crate::settings::{HostPort, PostgresTarget, Tls};

/// How long a host may take to let somebody in.
const HOST_WITHIN: Duration = Duration::from_secs(3);
/// How long the server leaves a session alone that has signed in and not changed anything yet.
const WAITS: Duration = Duration::from_secs(5);
/// How long the change itself may take, and the commit.
const CHANGES_WITHIN: Duration = Duration::from_secs(2);
/// How long the server waits for the commit after the change.
const COMMITS_AFTER: Duration = Duration::from_secs(1);
/// The oldest server that takes verifiers and binds channels. One before 10 would take a verifier for
/// the password itself.
const OLDEST: u32 = 110_000;

const _: () = assert!(
    WAITS.as_secs() + CHANGES_WITHIN.as_secs() + COMMITS_AFTER.as_secs() <= SESSION_LIVES.as_secs()
);

/// One PostgreSQL cluster.
pub(super) struct Postgres {
    hosts: Vec<HostPort>,
    database: String,
    tls: Option<MakeRustlsConnect>,
    secrets: Vec<PathPattern>,
}

impl Postgres {
    pub(super) fn new(settings: &PostgresTarget) -> Result<Self, String> {
        let tls = match &settings.tls {
            Tls::Off => None,
            Tls::VerifyFull(roots) => Some(tls::connector(roots.as_deref())?),
        };
        Ok(Self {
            hosts: settings.hosts.clone(),
            database: settings.database.clone(),
            tls,
            secrets: settings.secrets.clone(),
        })
    }

    /// Whether a secret may have this target.
    pub(super) fn serves(&self, secret: &SecretName) -> bool {
        let covers = |pattern: &PathPattern| pattern.matches(secret.path());
        secret.mount() == DEFAULT_MOUNT && self.secrets.iter().any(covers)
    }

    /// Signs in at the first host that takes writes. Whether a password is refused is believed only
    /// when every host has answered: one that lags may refuse what the primary accepts.
    pub(super) async fn sign_in(&self, login: &Login) -> Result<Session, TargetError> {
        let (mut refused, mut unavailable) = (None, None);
        for host in &self.hosts {
            match self.sign_in_at(host, login).await {
                Ok(Some(session)) => return Ok(session),
                Ok(None) => {}
                Err(TargetError::Refused(why)) => refused = Some(why),
                Err(error) => unavailable = Some(error),
            }
        }
        match (unavailable, refused) {
            (Some(error), _) => Err(error),
            (None, Some(why)) => Err(TargetError::Refused(why)),
            (None, None) => Err(TargetError::Unavailable("no host takes writes".to_owned())),
        }
    }

    /// `None`: this host takes no writes.
    async fn sign_in_at(
        &self,
        host: &HostPort,
        login: &Login,
    ) -> Result<Option<Session>, TargetError> {
        let signed_in = async {
            let password = login.password.expose();
            let client = self.connect(host, login, password).await?;
            if self.tls.is_none() && self.lets_anybody_in(host, login).await? {
                return Ok(Found::Open);
            }
            Session::begin(client).await
        };
        match timeout(HOST_WITHIN, signed_in).await {
            Ok(Ok(Found::Writable(session))) => Ok(Some(session)),
            Ok(Ok(Found::Open)) => Err(TargetError::Unavailable(format!(
                "{host} lets this role in with any password"
            ))),
            Ok(Ok(Found::ReadOnly)) => Ok(None),
            Ok(Ok(Found::Foreign)) => Err(TargetError::Unavailable(format!(
                "{host} is no PostgreSQL of version 11 or newer"
            ))),
            Ok(Err(error)) if is_refusal(&error) => {
                Err(TargetError::Refused(format!("{host}: {}", brief(&error))))
            }
            Ok(Err(error)) => Err(TargetError::Unavailable(format!(
                "{host}: {}",
                brief(&error)
            ))),
            Err(_) => Err(TargetError::Unavailable(format!(
                "{host}: no answer in time"
            ))),
        }
    }

    /// Whether the server does not ask for the password, by `trust` in its `pg_hba.conf` for one.
    async fn lets_anybody_in(&self, host: &HostPort, login: &Login) -> Result<bool, Error> {
        let random = getrandom::u64().unwrap_or_default();
        let wrong = format!("not the password {random:016x}");
        match self.connect(host, login, wrong.as_bytes()).await {
            Ok(_) => Ok(true),
            Err(error) if is_refusal(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn connect(
        &self,
        host: &HostPort,
        login: &Login,
        password: &[u8],
    ) -> Result<Client, Error> {
        let mut config = Config::new();
        config
            .host(host.host())
            .port(host.port())
            .dbname(&self.database)
            .application_name("strongroom")
            .connect_timeout(HOST_WITHIN)
            // What is not UTF-8 is no payload's string.
            .user(String::from_utf8_lossy(login.username.expose()))
            .password(password);
        // A connection's task ends with its client.
        match &self.tls {
            None => {
                let (client, connection) = config.ssl_mode(SslMode::Disable).connect(NoTls).await?;
                tokio::spawn(connection);
                Ok(client)
            }
            Some(tls) => {
                config
                    .ssl_mode(SslMode::Require)
                    .channel_binding(ChannelBinding::Require);
                let (client, connection) = config.connect(tls.clone()).await?;
                tokio::spawn(connection);
                Ok(client)
            }
        }
    }
}

enum Found {
    Writable(Session),
    ReadOnly,
    /// A login proves nothing here.
    Open,
    /// Something that speaks the protocol and may take a verifier for a password.
    Foreign,
}

/// A session with its transaction open.
pub(super) struct Session {
    client: Client,
    /// Until when it may ask for the change; the server ends it soon after.
    until: Instant,
}

impl Session {
    async fn begin(client: Client) -> Result<Found, Error> {
        let about = client
            .simple_query(
                "SELECT pg_catalog.current_setting('server_version_num'), \
                 pg_catalog.current_setting('transaction_read_only'), pg_catalog.version()",
            )
            .await?;
        let row = about.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        let text = |at: usize| row.and_then(|row| row.get(at)).unwrap_or_default();
        let version: u32 = text(0).parse().unwrap_or(0);
        if version < OLDEST || !text(2).starts_with("PostgreSQL ") {
            return Ok(Found::Foreign);
        }
        if text(1) != "off" {
            return Ok(Found::ReadOnly);
        }
        let until = Instant::now() + WAITS;
        let begin = format!(
            "BEGIN; SET LOCAL ROLE NONE; SET LOCAL idle_in_transaction_session_timeout = {}; \
             SET LOCAL statement_timeout = {changes}; SET LOCAL lock_timeout = {changes}",
            WAITS.as_millis(),
            changes = CHANGES_WITHIN.as_millis()
        );
        client.simple_query(&begin).await?;
        Ok(Found::Writable(Self { client, until }))
    }

    async fn change(self, password: Plaintext) -> Result<(), TargetError> {
        let verifier = postgres_protocol::password::scram_sha_256(password.expose());
        drop(password);
        // It is base64 and a few signs; anything else must not get into a statement.
        let plain = |c: u8| c.is_ascii_alphanumeric() || b"-$:+/=".contains(&c);
        if !verifier.bytes().all(plain) || Instant::now() >= self.until {
            return Err(TargetError::NotTaken("not asked for in time".to_owned()));
        }
        let change = format!(
            "SET LOCAL idle_in_transaction_session_timeout = {}; \
             ALTER ROLE SESSION_USER PASSWORD '{verifier}'",
            COMMITS_AFTER.as_millis()
        );
        // Without its commit it has no effect, whatever became of it.
        match timeout(CHANGES_WITHIN, self.client.simple_query(&change)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(TargetError::NotTaken(brief(&error))),
            Err(_) => return Err(TargetError::NotTaken("no answer in time".to_owned())),
        }
        match timeout(CHANGES_WITHIN, self.client.simple_query("COMMIT")).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) if says_no(&error) => Err(TargetError::NotTaken(brief(&error))),
            Ok(Err(error)) => Err(TargetError::Unknown(brief(&error))),
            Err(_) => Err(TargetError::Unknown("no answer to the commit".to_owned())),
        }
    }
}

impl TargetSession for Session {
    fn set_password(self: Box<Self>, password: Plaintext) -> TargetFuture<'static, ()> {
        Box::pin(self.change(password))
    }
}

/// Whether the server refuses these credentials.
fn is_refusal(error: &Error) -> bool {
    error.code().is_some_and(|code| {
        *code == SqlState::INVALID_PASSWORD
            || *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION
    })
}

/// Whether an error of the commit means that nothing was committed. A server that is being stopped, or
/// has lost its connection or its disk, does not know either.
fn says_no(error: &Error) -> bool {
    let class = error.code().and_then(|code| code.code().get(..2));
    class.is_some_and(|class| !matches!(class, "08" | "57" | "58" | "XX"))
}

/// The server's code, or what failed before there was one. Its message may hold a role's name.
fn brief(error: &Error) -> String {
    match error.code() {
        Some(code) => format!("SQLSTATE {}", code.code()),
        None => error.to_string(),
    }
}
