//! Clusters, and what may happen to them.

use std::{fs, path::PathBuf, time::Duration};

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::json;
use sha2::{Digest, Sha256};
use strongroom_tests::{
    backup::{restore, take},
    cluster::Cluster,
    kms_cluster::KmsCluster,
    metrics::Page,
    moto::gate::Mode,
    node::Node,
    postgres::{
        gate::Step,
        setup::{Setup, rotate},
    },
    raw::Raw,
    shim::{FailingDisk, WrongClock},
    tls::{self, Ca, Files},
};

const DAY: i64 = 86_400;

/// One cluster for each kind of trouble, so that none hides another.
pub(crate) struct Lab {
    three: Cluster,
    audit: Cluster,
    audit_disk: FailingDisk,
    audit_clock: WrongClock,
    disk: Cluster,
    store: FailingDisk,
    snapshots: Cluster,
    snapshot_disk: FailingDisk,
    kms: KmsCluster,
    backup: Cluster,
    backup_clock: WrongClock,
    backups: PathBuf,
    damaged: Cluster,
    targets: Setup,
    tls: Cluster,
    ca: Ca,
    tls_files: Files,
}

/// A cluster of one whose disk below `dir` can fail.
fn failing(dir: &str, env: &[(&str, &str)]) -> (Cluster, FailingDisk) {
    let mut cluster = Cluster::prepare(1, env);
    let (scratch, dir) = (
        cluster.dir.path().to_owned(),
        cluster.nodes[0].data_dir.join(dir),
    );
    let disk = FailingDisk::install(&mut cluster.nodes[0], &scratch, &dir);
    (cluster, disk)
}

async fn started(cluster: &mut Cluster) {
    cluster.nodes.iter_mut().for_each(Node::start);
    cluster.wait_ready().await;
}

impl Lab {
    pub(crate) async fn start() -> Self {
        let three = Cluster::start_with(3, &[("VAULT_REQUEST_TIMEOUT_SECS", "1")]).await;
        let (mut audit, audit_disk) = failing("audit", &[]);
        let scratch = audit.dir.path().to_owned();
        let audit_clock = WrongClock::install(&mut audit.nodes[0], &scratch);
        started(&mut audit).await;
        let (mut disk, store) = failing("log", &[]);
        started(&mut disk).await;
        let often = [("VAULT_SNAPSHOT_LOG_ENTRIES", "100")];
        let (mut snapshots, snapshot_disk) = failing("snapshots", &often);
        started(&mut snapshots).await;
        let looks = [
            ("VAULT_KMS_REWRAP_ENABLED", "true"),
            ("VAULT_KMS_REWRAP_POLL_SECS", "1"),
        ];
        let kms = KmsCluster::start(1, &looks).await;
        let mut backup = Cluster::prepare(1, &[("VAULT_BACKUP_INTERVAL_SECS", "1")]);
        let backups = backup.dir.path().join("backups");
        fs::create_dir(&backups).unwrap();
        let (node, scratch) = (&mut backup.nodes[0], backup.dir.path().to_owned());
        let url = backups.display().to_string();
        node.env.insert("VAULT_BACKUP_URL".to_owned(), url);
        let backup_clock = WrongClock::install(node, &scratch);
        started(&mut backup).await;
        let damaged = Cluster::start(1).await;
        let targets = Setup::start(1, &[("VAULT_REQUEST_TIMEOUT_SECS", "1")]).await;
        targets.create(json!({})).await;
        let ca = Ca::new("test");
        let (tls, tls_files) = tls::start(&ca, &[]).await;
        Self {
            three,
            audit,
            audit_disk,
            audit_clock,
            disk,
            store,
            snapshots,
            snapshot_disk,
            kms,
            backup,
            backup_clock,
            backups,
            damaged,
            targets,
            tls,
            ca,
            tls_files,
        }
    }

    /// What Prometheus is told to scrape.
    pub(crate) fn jobs(&self) -> Vec<(&'static str, Vec<u16>)> {
        let ports = |cluster: &Cluster| cluster.nodes.iter().map(|node| node.api_port).collect();
        vec![
            ("strongroom-three", ports(&self.three)),
            ("strongroom-audit", ports(&self.audit)),
            ("strongroom-disk", ports(&self.disk)),
            ("strongroom-snapshots", ports(&self.snapshots)),
            ("strongroom-kms", ports(&self.kms.cluster)),
            ("strongroom-backup", ports(&self.backup)),
            ("strongroom-damaged", ports(&self.damaged)),
            ("strongroom-targets", ports(&self.targets.cluster)),
            ("strongroom-tls", ports(&self.tls)),
        ]
    }

    /// Everything goes wrong, each thing somewhere else.
    pub(crate) async fn make_causes(&mut self) {
        let (disk, snapshots) = (&self.disk, &self.snapshots);
        // Renewal was forgotten.
        self.tls_files.put(&self.ca.issue(-1, 5));
        tokio::join!(
            lose_nodes(&mut self.three),
            crowd(&self.audit, &self.audit_disk, &self.audit_clock),
            wear_out(disk, &self.store),
            fill_log(snapshots, &self.snapshot_disk),
            lose_kms(&self.kms),
            lose_backups(&self.backups, &self.backup_clock),
            damage(&self.damaged),
            hold_up(&self.targets),
        );
    }
}

async fn write(cluster: &Cluster, node: usize, secret: &str) -> u16 {
    let body = json!({"name": secret, "value": "v"});
    let sent = cluster.admin(node);
    let sent = sent
        .try_send("POST", "/v1/secrets", &[], Some(body.to_string()))
        .await;
    sent.map_or(0, |answer| answer.status)
}

/// The lead goes round, then one node after the other dies.
async fn lose_nodes(three: &mut Cluster) {
    for round in 0..12 {
        let to = json!({"to": (round % 3 + 1).to_string()});
        let admin = three.admin(round % 3);
        let at = "/v1/admin/cluster/handover";
        // It may be that this one leads already, or that nobody can yet.
        drop(admin.try_send("POST", at, &[], Some(to.to_string())).await);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let leader = three.leader().await;
    let (first, second) = ((leader + 1) % 3, (leader + 2) % 3);
    three.nodes[first].kill();
    let lag = "strongroom_raft_peer_lag_entries";
    let mut written = 0;
    while Page::of(&three.nodes[leader]).await.sum(lag, &[]) <= Some(1_100.0) {
        let names: Vec<_> = (0..60).map(|n| format!("lag/{}", written + n)).collect();
        let (some, others) = names.split_at(30);
        let each = async |names: &[String]| {
            for name in names {
                write(three, leader, name).await;
            }
        };
        tokio::join!(each(some), each(others));
        written += 60;
    }
    tokio::time::sleep(Duration::from_secs(4)).await;
    three.nodes[second].kill();
    for n in 0..12 {
        assert_ne!(write(three, leader, &format!("late/{n}")).await, 201);
    }
}

/// Strangers, a crowd, a clock that is set back; and then the disk of the audit trail.
async fn crowd(audit: &Cluster, disk: &FailingDisk, clock: &WrongClock) {
    let node = &audit.nodes[0];
    clock.set(-60);
    for _ in 0..6 {
        let stranger = Raw::node(node).from("127.0.0.3");
        let wrong = stranger.token("srt_wrong-wrong-wrong-wrong");
        wrong.get("/v1/roles").await;
    }
    let refused = async || {
        for _ in 0..400 {
            let outside = Raw::node(node).from("127.0.0.2");
            outside.get("/v1/secrets/none").await;
        }
    };
    tokio::join!(refused(), refused(), refused(), refused());
    let page = Page::of(node).await;
    let open = page.value("process_open_fds") as u64;
    let limits = Rlimit {
        current: Some(open + 5),
        maximum: Some(page.value("process_max_fds") as u64),
    };
    let pid = i32::try_from(node.pid()).ok().and_then(Pid::from_raw);
    prlimit(pid, Resource::Nofile, limits).unwrap();
    tokio::time::sleep(Duration::from_secs(6)).await;
    disk.break_down();
    node.api().get("/v1/secrets/none").await;
}

/// The store's disk becomes slow, and fails.
async fn wear_out(cluster: &Cluster, disk: &FailingDisk) {
    disk.slow_down(Duration::from_millis(400));
    for n in 0..10 {
        write(cluster, 0, &format!("slow/{n}")).await;
    }
    disk.break_down();
    write(cluster, 0, "failed").await;
}

/// The log grows until a snapshot is due, which cannot be written.
async fn fill_log(cluster: &Cluster, disk: &FailingDisk) {
    disk.break_down();
    for n in 0..150 {
        if write(cluster, 0, &format!("s/{n}")).await != 201 {
            return;
        }
    }
}

async fn lose_kms(kms: &KmsCluster) {
    kms.gate.set(Mode::Cut);
    for n in 0..20 {
        kms.create(0, &format!("k/{n}")).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The place of backups is gone, and days pass.
async fn lose_backups(place: &PathBuf, clock: &WrongClock) {
    fs::rename(place, place.with_extension("gone")).unwrap();
    fs::write(place, "not a directory").unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    clock.set(3 * DAY);
}

/// A target does not take its new password.
async fn hold_up(targets: &Setup) {
    targets.gate.stop_at(Step::Begin);
    // It is answered that this goes on.
    drop(rotate(&targets.cluster.admin(0)).await);
}

/// Somebody with an admin's token restores a backup in which a ciphertext was changed: its checksum tells
/// damage, not people.
async fn damage(cluster: &Cluster) {
    let admin = cluster.admin(0);
    let secret = json!({"name": "damaged", "value": "v".repeat(100_000)});
    admin.post("/v1/secrets", secret).await.expect(201);
    let mut backup = take(&admin).await;
    let records = backup.len() - 32;
    backup.truncate(records);
    backup[records / 2] ^= 1;
    let checksum = Sha256::digest(&backup);
    backup.extend_from_slice(&checksum);
    restore(&admin, "/v1/restore", backup).await.expect(200);
    let reader = cluster.nodes[0].api();
    for _ in 0..8 {
        let read = reader.get("/v1/secrets/damaged").await;
        assert!(read.status >= 500, "{}", read.text);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
