//! Older versions: looking at them, and going back to one.

use crate::{Change, Client, ClientError, Consistency, Read, ReadSecret, SecretRow};

/// What [`Client::rollback`] did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RolledBack {
    /// The version that was put again.
    pub from: u64,
    /// The secret, with the version that now holds it.
    pub row: SecretRow,
}

impl Client {
    /// The versions that can still be read, newest first, `most` of them. The API has no list of
    /// versions, so each is read, and recorded as read.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn history(&self, name: &str, most: usize) -> Result<Vec<ReadSecret>, ClientError> {
        /// Numbers without a version after which the older ones are taken to be trimmed. `max_versions`
        /// is 1,000 at most, but what is destroyed lies at the old end.
        const GAP: u32 = 3;
        let current = self.read(name, &Read::default()).await?;
        let (mut number, mut gap) = (current.version, 0);
        let mut found = vec![current];
        while found.len() < most && number > 1 && gap < GAP {
            number -= 1;
            let read = Read {
                version: Some(number),
                ..Read::default()
            };
            match self.read(name, &read).await {
                Ok(version) => {
                    found.push(version);
                    gap = 0;
                }
                Err(error) if error.code() == Some("not_found") => gap += 1,
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// Puts what an older version holds again, as a new version: of `to`, or of the one before the current
    /// one. Nothing changes if somebody else writes meanwhile. Reading it needs an address that may read.
    ///
    /// # Errors
    /// See [`ClientError`]; the code is `not_found` if that version is gone, `version_mismatch` if there
    /// was another write.
    pub async fn rollback(&self, name: &str, to: Option<u64>) -> Result<RolledBack, ClientError> {
        let fresh = Read {
            version: None,
            consistency: Some(Consistency::Linearizable),
        };
        let current = self.read(name, &fresh).await?.version;
        let from = to.unwrap_or(current.saturating_sub(1));
        if from == 0 || from >= current {
            let why = format!("the current version is {current}: there is none before it to go to");
            return Err(ClientError::Unusable(why));
        }
        let older = Read {
            version: Some(from),
            ..fresh
        };
        let older = self.read(name, &older).await?;
        let change = Change {
            payload: Some(older.payload),
            cas: Some(current),
            ..Change::default()
        };
        let row = self.put(name, &change).await?;
        Ok(RolledBack { from, row })
    }
}
