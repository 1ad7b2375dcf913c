//! Backups that nobody asks for: in a directory and in a bucket, through trouble and a change of
//! leaders.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::json;
use strongroom_tests::{
    api::Api,
    backup::restore,
    cluster::Cluster,
    kms_cluster::metric,
    moto::{Moto, REGION},
    node::binary,
};

const AGE: &str = "strongroom_backup_age_seconds";
const VERIFIED_AGE: &str = "strongroom_backup_verified_age_seconds";
const TAKEN: &str = "strongroom_backups_total";
const FAILURES: &str = "strongroom_backup_failures_total";
/// Longest that anything here may take. Most of it takes a few seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// Backups every two seconds, of which three are kept.
fn often(url: &str) -> [(&str, &str); 3] {
    [
        ("VAULT_BACKUP_URL", url),
        ("VAULT_BACKUP_INTERVAL_SECS", "2"),
        ("VAULT_BACKUP_KEEP", "3"),
    ]
}

async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The whole backups in a directory; later ones are greater.
fn backups(directory: &Path) -> BTreeSet<String> {
    let Ok(entries) = fs::read_dir(directory) else {
        return BTreeSet::new();
    };
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".backup"))
        .collect()
}

/// Waits for a backup that was taken after now, and returns its name.
async fn another(directory: &Path) -> String {
    let before = backups(directory);
    let newest = before.last().cloned().unwrap_or_default();
    until("another backup", async || {
        let now = backups(directory);
        now.last().filter(|name| **name > newest).cloned()
    })
    .await
}

fn verify(file: &Path) -> String {
    let mut command = Command::new(binary());
    command.env_clear().args(["backup", "verify"]).arg(file);
    let output = command.output().unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success(), "{}: {text}", file.display());
    text
}

async fn has(api: &Api, name: &str) -> bool {
    let page = api.get("/metrics").await.expect(200).text;
    page.lines().any(|line| line.starts_with(name))
}

async fn create(api: &Api, name: &str, value: &str) {
    let body = json!({"name": name, "value": value});
    api.post("/v1/secrets", body).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn backups_are_taken_verified_and_kept_and_go_on_with_the_next_leader() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path();
    fs::write(directory.join("notes.txt"), "of somebody else").unwrap();
    let url = directory.to_str().unwrap();
    let mut cluster = Cluster::start_with(3, &often(url)).await;
    for n in 0..20 {
        create(&cluster.admin(n % 3), &format!("app/{n}"), "a value").await;
    }
    let mut seen = BTreeSet::new();
    until("six backups", async || {
        let now = backups(directory);
        assert!(now.len() <= 4, "three, and the one that is new: {now:?}");
        seen.extend(now);
        (seen.len() >= 6).then_some(())
    })
    .await;
    let newest = directory.join(another(directory).await);
    assert!(verify(&newest).contains("20 secrets with 20 versions"));
    let mode = newest.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    // The leader alone tells how old they are.
    let leader = cluster.leader().await;
    for place in 0..3 {
        let api = cluster.admin(place);
        for name in [AGE, VERIFIED_AGE] {
            assert_eq!(has(&api, name).await, place == leader, "{place} {name}");
        }
    }
    let leading = cluster.admin(leader);
    assert!(metric(&leading, TAKEN).await >= 6.0);
    assert!(metric(&leading, VERIFIED_AGE).await < 30.0);

    cluster.nodes[leader].kill();
    another(directory).await;
    let next = cluster.leader().await;
    assert_ne!(next, leader);
    create(&cluster.admin(next), "app/later", "a value").await;
    another(directory).await;
    let newest = directory.join(another(directory).await);
    assert!(verify(&newest).contains("21 secrets with 21 versions"));
    assert!(directory.join("notes.txt").exists());

    // Which is what one has them for.
    let fresh = Cluster::start(1).await;
    let bytes = fs::read(&newest).unwrap();
    let restored = restore(&fresh.admin(0), "/v1/restore", bytes)
        .await
        .expect(200);
    assert_eq!(restored.json["secrets"], 21);
    let read = fresh.nodes[0].api().get("/v1/secrets/app/later").await;
    assert_eq!(read.expect(200).json["value"], "a value");

    // And it is in the audit trail of those who took them.
    let mut records = Vec::new();
    for node in [leader, next] {
        let folder = cluster.nodes[node].data_dir.join("audit");
        for file in fs::read_dir(folder).unwrap() {
            let text = fs::read_to_string(file.unwrap().path()).unwrap();
            records.extend(text.lines().map(str::to_owned));
        }
    }
    let name = newest.file_name().unwrap().to_str().unwrap();
    let of_it = |outcome: &str| {
        records.iter().any(|record| {
            [name, outcome, "backup.scheduled", "worker/backup"]
                .iter()
                .all(|part| record.contains(part))
        })
    };
    assert!(of_it("attempted") && of_it("done"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_is_away_is_told_counted_and_tried_again() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("mounted");
    let cluster = Cluster::start_with(1, &often(directory.to_str().unwrap())).await;
    let api = cluster.admin(0);
    create(&api, "app/a", "a value").await;
    until("a failure", async || {
        (metric(&api, FAILURES).await >= 1.0).then_some(())
    })
    .await;
    assert!(
        !directory.exists(),
        "it is not made: nothing is mounted there"
    );
    assert!(!has(&api, AGE).await, "there is none, so it has no age");
    let log = cluster.nodes[0].log_text();
    assert!(log.contains("the scheduled backup failed"), "{log}");
    assert!(log.contains(directory.to_str().unwrap()), "{log}");

    fs::create_dir(&directory).unwrap();
    verify(&directory.join(another(&directory).await));
    until("an age", async || {
        has(&api, VERIFIED_AGE).await.then_some(())
    })
    .await;

    // Gone again, and a file in its way.
    let aside = place.path().join("aside");
    fs::rename(&directory, &aside).unwrap();
    fs::write(&directory, "").unwrap();
    let failures = metric(&api, FAILURES).await;
    until("another failure, and the age goes on", async || {
        let failed = metric(&api, FAILURES).await > failures;
        (failed && metric(&api, VERIFIED_AGE).await >= 5.0).then_some(())
    })
    .await;
    // Nobody who asks for something else is any the worse for it.
    create(&api, "app/b", "a value").await;
    fs::remove_file(&directory).unwrap();
    fs::rename(&aside, &directory).unwrap();
    let newest = another(&directory).await;
    assert!(verify(&directory.join(newest)).contains("2 secrets"));

    // Somebody deletes them all: the node finds out, and takes another.
    for name in backups(&directory) {
        fs::remove_file(directory.join(name)).unwrap();
    }
    another(&directory).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn backups_go_to_a_bucket() {
    let moto = Moto::start();
    let endpoint = moto.api().endpoint();
    let mut env = often("s3://backups/strongroom/eu").to_vec();
    env.extend([
        ("AWS_ENDPOINT_URL_S3", endpoint.as_str()),
        ("AWS_REGION", REGION),
        ("AWS_ACCESS_KEY_ID", "AKIATESTTESTTEST"),
        ("AWS_SECRET_ACCESS_KEY", "not-a-secret-at-all"),
        ("AWS_SESSION_TOKEN", "not-a-session-token"),
    ]);
    let cluster = Cluster::start_with(1, &env).await;
    let api = cluster.admin(0);
    // More than one part of an upload.
    let value = "v".repeat(500 * 1024);
    for n in 0..24 {
        create(&api, &format!("app/{n}"), &value).await;
    }
    // There is no bucket yet.
    until("a failure", async || {
        (metric(&api, FAILURES).await >= 1.0).then_some(())
    })
    .await;
    moto.api().create_bucket("backups");
    let mut seen = BTreeSet::new();
    until("five backups", async || {
        let keys = moto.api().keys("backups");
        let whole = keys.into_iter().filter(|key| key.ends_with(".backup"));
        let now: BTreeSet<String> = whole.collect();
        assert!(now.len() <= 4, "three, and the one that is new: {now:?}");
        seen.extend(now);
        (seen.len() >= 5).then_some(())
    })
    .await;
    assert!(metric(&api, TAKEN).await >= 4.0);
    assert!(metric(&api, VERIFIED_AGE).await < 30.0);
    let newest = seen.last().unwrap();
    assert!(newest.starts_with("strongroom/eu/strongroom-"), "{newest}");
    let bytes = until("the newest backup", async || {
        let newest = moto.api().keys("backups").into_iter().max()?;
        newest
            .ends_with(".backup")
            .then(|| moto.api().object("backups", &newest))
    })
    .await;
    println!("{} bytes in the bucket", bytes.len());
    let file = cluster.dir.path().join("from-the-bucket");
    fs::write(&file, bytes).unwrap();
    assert!(verify(&file).contains("24 secrets with 24 versions"));
    let log = cluster.nodes[0].log_text();
    assert!(log.contains("NoSuchBucket"), "{log}");
    assert!(!log.contains("not-a-se"), "credentials in the log");
}
