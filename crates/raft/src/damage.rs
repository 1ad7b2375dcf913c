//! A store that is damaged: where the others go on without this node, it sets aside what it had and
//! comes back as a new member, as it would from a lost disk.
//!
//! A leader among the others has a quorum without this node, so whatever was acknowledged is there.
//! Where there is none, what is damaged may be the last of it, and the node ends (invariant 24). Nothing
//! is deleted.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt,
    path::PathBuf,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use futures_util::future::join_all;

use crate::{
    election::SILENT_MS,
    files,
    identity::{self, DataDir, Identity},
    network::AddressBook,
    node::StartError,
    store::{OpenError, Store},
    wire::{self, NodeStatus, Rpc, Transport},
};

/// What the directories begin with that damaged files are kept in.
pub(crate) const ASIDE: &str = "damaged-";
/// How many of them there may be. A disk that damages a store again and again is to be replaced.
const MOST: usize = 3;
/// How long the others may take to have a leader: all nodes may have been started just now.
const LEADER_WITHIN: Duration = Duration::from_secs(30);
/// Between two looks for a leader.
const PAUSE: Duration = Duration::from_millis(500);
const ASK_WITHIN: Duration = Duration::from_millis(700);

/// A node's store, and where a damaged one was set aside for it.
pub(crate) struct Opened {
    pub(crate) store: Store,
    pub(crate) set_aside: Option<PathBuf>,
}

/// Opens the store; one that is damaged is set aside where that is safe, and the identity in `dir` is
/// another then.
///
/// # Errors
/// [`StartError::Store`] if it cannot be opened and was left as it is.
pub(crate) async fn open(
    dir: &mut DataDir,
    addresses: &AddressBook,
    transport: &dyn Transport,
) -> Result<Opened, StartError> {
    let set_aside = None;
    let first = match try_open(dir).await? {
        Ok(store) => return Ok(Opened { store, set_aside }),
        Err(error) => error,
    };
    let OpenError::Corrupt { .. } = first else {
        return Err(first.into());
    };
    if addresses.len() < 2 {
        return Err(first.into());
    }
    tracing::error!("{first}");
    // A damaged snapshot has got another name meanwhile, and the log may hold all that it held.
    let damage = match try_open(dir).await? {
        Ok(store) => return Ok(Opened { store, set_aside }),
        Err(error) => error,
    };
    if let Err(why) = may_set_aside(dir, addresses, transport).await {
        tracing::error!("the damaged store is left where it is: {why}");
        return Err(damage.into());
    }
    let aside = set_aside_in(dir).map_err(OpenError::io(&dir.path))?;
    tracing::error!(
        kept = %aside.display(),
        raft_id = dir.identity.raft_id,
        "the damaged store is set aside, and the node joins as a new member: look after its disk"
    );
    Ok(Opened {
        store: try_open(dir).await??,
        set_aside: Some(aside),
    })
}

async fn try_open(dir: &DataDir) -> Result<Result<Store, OpenError>, StartError> {
    let (path, raft_id) = (dir.path.clone(), dir.identity.raft_id);
    tokio::task::spawn_blocking(move || Store::open(&path, raft_id))
        .await
        .map_err(|error| StartError::Raft(error.to_string()))
}

async fn may_set_aside(
    dir: &DataDir,
    addresses: &AddressBook,
    transport: &dyn Transport,
) -> Result<(), String> {
    let kept = fs::read_dir(&dir.path).map_err(|error| error.to_string())?;
    let kept = kept
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(ASIDE))
        .count();
    if kept >= MOST {
        return Err(format!(
            "{kept} were set aside before ({ASIDE}…); replace the disk, or move those away"
        ));
    }
    let deadline = Instant::now() + LEADER_WITHIN;
    while !others_go_on(dir, addresses, transport).await {
        if Instant::now() > deadline {
            return Err(
                "no leader among the others, so it may be the last to hold what it holds"
                    .to_owned(),
            );
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

/// Whether a node other than this one leads: it has a quorum to which this one does not belong, since
/// this one does not run.
async fn others_go_on(dir: &DataDir, addresses: &AddressBook, transport: &dyn Transport) -> bool {
    let own = &dir.identity;
    let others = addresses.iter().filter(|(name, _)| **name != own.node_id);
    let asked = others.map(|(name, address)| async move {
        let answer = transport.ask(address, Rpc::Status, Vec::new(), ASK_WITHIN);
        let status: NodeStatus = wire::decode(&answer.await.ok()?).ok()?;
        (status.name == *name).then_some(status)
    });
    let leads = |status: NodeStatus| {
        status.leader == Some(status.raft_id)
            && status.raft_id != own.raft_id
            && status.voters.len() > 1
            && status.silence_ms < SILENT_MS
            && status.epoch.unwrap_or_default() >= own.epoch
    };
    join_all(asked).await.into_iter().flatten().any(leads)
}

/// Moves log and snapshots into a directory of their own, beside a copy of the identity, and draws
/// another one. The log goes first: without it, whatever a crash leaves comes back as another member.
fn set_aside_in(dir: &mut DataDir) -> io::Result<PathBuf> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let aside = dir
        .path
        .join(format!("{ASIDE}{}", now.unwrap_or_default().as_secs()));
    DirBuilder::new().mode(0o700).create(&aside)?;
    fs::copy(dir.path.join(identity::FILE), aside.join(identity::FILE))?;
    files::sync_tree(&aside)?;
    files::sync_dir(&dir.path)?;
    for part in ["log", "snapshots"] {
        let from = dir.path.join(part);
        if from.try_exists()? {
            fs::rename(&from, aside.join(part))?;
            files::sync_dir(&aside)?;
            files::sync_dir(&dir.path)?;
        }
    }
    let drawn = Identity {
        rejoins: true,
        ..Identity::draw(&dir.identity.node_id, dir.identity.epoch)?
    };
    drawn.keep(&dir.path)?;
    dir.identity = drawn;
    Ok(aside)
}
