//! TLS on the API's port: certificate, key and the authority of clients, out of files.
//!
//! They are one thing: they are read together, checked together, and go into use together, so that no
//! connection ever meets the certificate of one day with the key of another. What does not fit is told
//! and not used; what was in use before goes on.

mod files;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::signal::unix::{SignalKind, signal};

use crate::settings::TlsSettings;
use files::{Digest, Files};

/// Between two looks at the files.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long before its end a certificate is warned of.
const WARNED_BEFORE: Duration = Duration::from_secs(14 * DAY);
/// Between two such warnings.
const WARNED_EVERY: Duration = Duration::from_secs(DAY);
const DAY: u64 = 86_400;

/// Why files cannot be used. It names them, and quotes nothing of what is in them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Unusable(String);

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What there is to tell of the certificate in use.
#[derive(Default)]
pub(crate) struct TlsStats {
    /// In seconds since 1970.
    not_after: AtomicI64,
    reloads: AtomicU64,
    refused: AtomicU64,
}

impl TlsStats {
    /// Seconds until the certificate in use expires; less than nothing once it has. `None` without TLS.
    pub(crate) fn seconds_left(&self, now: SystemTime) -> Option<i64> {
        let not_after = self.not_after.load(Ordering::Relaxed);
        (not_after != 0).then(|| not_after - seconds(now))
    }

    /// How often changed files went into use.
    pub(crate) fn reloads(&self) -> u64 {
        self.reloads.load(Ordering::Relaxed)
    }

    /// How often changed files were refused.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

fn seconds(at: SystemTime) -> i64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

/// Files that fit together, ready for use.
struct Ready {
    config: ServerConfig,
    not_after: SystemTime,
    digest: Digest,
    /// What deserves a line in the log, and stops nothing.
    complaint: Option<String>,
}

/// The TLS of the API's port.
pub(crate) struct ApiTls {
    settings: TlsSettings,
    in_use: Arc<ArcSwap<ServerConfig>>,
    stats: Arc<TlsStats>,
    first: Digest,
}

/// What was seen of the files at the last look.
struct Seen {
    in_use: Digest,
    /// Other files, which have yet to stay as they are for a moment.
    changed: Option<Digest>,
    /// Why they are refused, as it was told.
    told: Option<Unusable>,
    warned: Option<Instant>,
}

impl ApiTls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`Unusable`].
    pub(crate) fn open(settings: TlsSettings, stats: Arc<TlsStats>) -> Result<Self, Unusable> {
        let ready = Files::read(&settings)?.check(&settings, SystemTime::now())?;
        if let Some(complaint) = &ready.complaint {
            tracing::warn!("{complaint}");
        }
        let not_after = seconds(ready.not_after);
        stats.not_after.store(not_after, Ordering::Relaxed);
        tracing::info!(expires = date(ready.not_after), "the API speaks TLS");
        Ok(Self {
            settings,
            in_use: Arc::new(ArcSwap::from_pointee(ready.config)),
            stats,
            first: ready.digest,
        })
    }

    /// What connections that come in now are to be met with.
    pub(crate) fn in_use(&self) -> Arc<ArcSwap<ServerConfig>> {
        Arc::clone(&self.in_use)
    }

    /// Takes up changed files, and warns of an end that is near, for as long as it is polled. SIGHUP
    /// has it look at once.
    pub(crate) async fn keep_fresh(&self) {
        let mut told_to = signal(SignalKind::hangup()).ok();
        let mut seen = Seen {
            in_use: self.first,
            changed: None,
            told: None,
            warned: None,
        };
        loop {
            self.warn_of_the_end(&mut seen.warned);
            let told = async {
                match told_to.as_mut() {
                    Some(signal) => signal.recv().await,
                    None => std::future::pending().await,
                }
            };
            let at_once = tokio::select! {
                _ = told => true,
                () = tokio::time::sleep(LOOK_EVERY) => false,
            };
            self.look(&mut seen, at_once).await;
        }
    }

    async fn look(&self, seen: &mut Seen, at_once: bool) {
        let settings = self.settings.clone();
        let read = tokio::task::spawn_blocking(move || Files::read(&settings)).await;
        let read = match read {
            Ok(read) => read,
            Err(_stopping) => return,
        };
        let digest = match &read {
            Ok(files) => files.digest(),
            Err(unusable) => files::digest([unusable.0.as_bytes()]),
        };
        if digest == seen.in_use {
            (seen.changed, seen.told) = (None, None);
            return;
        }
        // Whoever writes them is not done, most likely: there are three, and each takes its time.
        if !at_once && seen.changed.replace(digest) != Some(digest) {
            return;
        }
        match read.and_then(|files| files.check(&self.settings, SystemTime::now())) {
            Ok(ready) => {
                self.take_up(ready);
                (seen.in_use, seen.changed, seen.told) = (digest, None, None);
                seen.warned = None;
            }
            Err(unusable) => {
                // Time alone may mend it, so it is looked at again, and told once.
                if seen.told.as_ref() != Some(&unusable) {
                    self.stats.refused.fetch_add(1, Ordering::Relaxed);
                    tracing::error!(
                        "changed TLS files are not used, the old ones still are: {unusable}"
                    );
                    seen.told = Some(unusable);
                }
            }
        }
    }

    fn take_up(&self, ready: Ready) {
        if let Some(complaint) = &ready.complaint {
            tracing::warn!("{complaint}");
        }
        let not_after = seconds(ready.not_after);
        self.in_use.store(Arc::new(ready.config));
        self.stats.not_after.store(not_after, Ordering::Relaxed);
        self.stats.reloads.fetch_add(1, Ordering::Relaxed);
        tracing::info!(
            expires = date(ready.not_after),
            "changed TLS files are in use"
        );
    }

    fn warn_of_the_end(&self, warned: &mut Option<Instant>) {
        let Some(left) = self.stats.seconds_left(SystemTime::now()) else {
            return;
        };
        let near = i64::try_from(WARNED_BEFORE.as_secs()).unwrap_or(i64::MAX);
        let now = Instant::now();
        let due = warned.is_none_or(|at| now.saturating_duration_since(at) >= WARNED_EVERY);
        if left >= near || !due {
            return;
        }
        *warned = Some(now);
        if left <= 0 {
            tracing::warn!("the API's certificate has EXPIRED: clients refuse it");
        } else {
            let hours = left / 3_600;
            tracing::warn!(hours, "the API's certificate expires soon: renew it");
        }
    }
}

/// A time as people read it.
fn date(at: SystemTime) -> String {
    let at = OffsetDateTime::from(at).replace_nanosecond(0);
    let text = at.ok().and_then(|at| at.format(&Rfc3339).ok());
    text.unwrap_or_else(|| "at an unknown time".to_owned())
}

#[cfg(test)]
mod tests;
