//! A node whose KMS is slow, gone or refuses.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

use std::{
    fs,
    time::{Duration, Instant},
};

use serde_json::Value;
use strongroom_tests::{
    kms_cluster::{KmsCluster, metric, read},
    moto::gate::Mode,
    node::PATIENCE,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_readers_of_one_cold_secret_cost_one_call() {
    let mut it = KmsCluster::start(1, &[]).await;
    it.create(0, "cold").await.expect(201);
    it.restart(0).await;
    it.gate.set(Mode::Slow(Duration::from_secs(2)));
    let before = it.gate.calls("Decrypt");
    let api = it.cluster.nodes[0].api();
    let readers: Vec<_> = (0..100)
        .map(|_| {
            let api = api.clone();
            tokio::spawn(async move { read(&api, "cold").await })
        })
        .collect();
    for reader in readers {
        let answer = reader.await.unwrap().expect(200);
        assert_eq!(answer.json["value"], "value of cold");
    }
    assert_eq!(it.gate.calls("Decrypt") - before, 1);
    assert_eq!(metric(&api, "strongroom_dek_cache_misses_total").await, 1.0);
    let (hits, coalesced) = (
        metric(&api, "strongroom_dek_cache_hits_total").await,
        metric(&api, "strongroom_dek_cache_coalesced_total").await,
    );
    assert_eq!(hits + coalesced, 99.0);
    assert!(coalesced > 50.0, "{coalesced} waited");
    let ok = "{operation=\"unwrap\",outcome=\"ok\"}";
    // The other one is the probe at the start.
    let calls = metric(&api, &format!("strongroom_kms_calls_total{ok}")).await;
    assert_eq!(calls, 2.0);
    let of_unwraps = "{operation=\"unwrap\"}";
    let duration = "strongroom_kms_call_duration_seconds";
    let seconds = metric(&api, &format!("{duration}_sum{of_unwraps}")).await;
    assert!((2.0..10.0).contains(&seconds), "{seconds}");
    let fast = format!("{duration}_bucket{{le=\"0.25\",operation=\"unwrap\"}}");
    let all = metric(&api, &format!("{duration}_count{of_unwraps}")).await;
    // The probe at the start may have been slow, too.
    assert!(metric(&api, &fast).await <= 1.0);
    assert_eq!(all, 2.0);
    let rest = fast.replace("0.25", "+Inf");
    assert_eq!(metric(&api, &rest).await, all);
    let closed = "strongroom_kms_breaker{state=\"closed\"}";
    assert_eq!(metric(&api, closed).await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_start_says_which_key_it_is_and_why_it_cannot_be_used() {
    let mut it = KmsCluster::start(1, &[]).await;
    let node = &mut it.cluster.nodes[0];
    let log = node.log_text();
    let lines: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("KMS wraps and unwraps"))
        .collect();
    assert_eq!(lines.len(), 1, "{log}");
    let key = node.env["VAULT_KMS_KEY_ID"].clone();
    for words in ["mode=aws", &key, "eu-central-1", "access key …"] {
        assert!(lines[0].contains(words), "{words}: {}", lines[0]);
    }
    let secret = &node.env["AWS_SECRET_ACCESS_KEY"];
    assert!(!log.contains(secret.as_str()), "{log}");
    for (aws, words) in [
        ("AccessDeniedException", "AccessDeniedException"),
        ("DisabledException", "DisabledException"),
        ("NotFoundException", "NotFoundException"),
    ] {
        assert!(node.terminate().success());
        it.gate.set(Mode::Error(400, aws));
        let began = Instant::now();
        node.start();
        assert_eq!(node.wait().code(), Some(1), "{aws}");
        assert!(began.elapsed() < Duration::from_secs(10), "{aws}");
        let log = node.log_text();
        let last = log.trim_end().lines().last().unwrap();
        for words in ["KMS (aws", &key, "eu-central-1", words] {
            assert!(last.contains(words), "{words}: {last}");
        }
        it.gate.set(Mode::Pass);
        node.start();
        node.wait_ready().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_told_apart_and_not_asked_again() {
    let retries = [("VAULT_KMS_MAX_RETRIES", "2")];
    let it = KmsCluster::start(1, &retries).await;
    it.create(0, "known").await.expect(201);
    for (status, aws, code, requests) in [
        (400, "DisabledException", "kms_key_disabled", 1),
        (400, "KMSInvalidStateException", "kms_key_disabled", 1),
        (400, "NotFoundException", "kms_denied", 1),
        (400, "AccessDeniedException", "kms_denied", 1),
        (400, "ThrottlingException", "kms_unavailable", 3),
        (500, "KMSInternalException", "kms_unavailable", 3),
    ] {
        // A probe may be under way, and must not be counted.
        it.cluster.nodes[0].wait_ready().await;
        it.gate.set(Mode::Error(status, aws));
        let before = it.gate.calls("GenerateDataKey");
        let write = it.create(0, "new").await.expect(503);
        let asked = it.gate.calls("GenerateDataKey") - before;
        assert_eq!(write.code(), code, "{aws}");
        assert!(write.headers.contains_key("retry-after"));
        // A probe asks as well; on a busy machine more than one.
        assert!((requests..=requests * 3).contains(&asked), "{aws}: {asked}");
        assert_eq!(it.kms(0).await["breaker"], "closed", "{aws}");
        read(&it.cluster.nodes[0].api(), "known").await.expect(200);
        it.gate.set(Mode::Pass);
    }
    it.cluster.nodes[0].wait_ready().await;
    it.create(0, "new").await.expect(201);
}

/// The outcomes of reads in a node's audit trail, oldest first.
fn outcomes(it: &KmsCluster) -> Vec<String> {
    let dir = it.cluster.nodes[0].data_dir.join("audit");
    let mut files: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|f| f.unwrap().path())
        .collect();
    files.sort();
    let text: String = files
        .iter()
        .filter_map(|f| fs::read_to_string(f).ok())
        .collect();
    text.lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|record| record["action"] == "secret.read")
        .map(|record| record["outcome"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn stale_keys_bridge_an_outage_and_no_revocation() {
    let env = [
        ("VAULT_DEK_CACHE_TTL_SECS", "2"),
        ("VAULT_DEK_CACHE_STALE_SECS", "600"),
        ("VAULT_KMS_MAX_RETRIES", "0"),
    ];
    let it = KmsCluster::start(1, &env).await;
    for name in ["a", "b", "c"] {
        it.create(0, name).await.expect(201);
    }
    let api = it.cluster.nodes[0].api();
    read(&api, "a").await.expect(200);
    tokio::time::sleep(Duration::from_secs(3)).await;
    it.gate.set(Mode::Cut);
    for _ in 0..5 {
        let stale = read(&api, "a").await.expect(200);
        assert_eq!(stale.json["value"], "value of a");
    }
    assert_eq!(
        outcomes(&it),
        [
            "done",
            "done_stale",
            "done_stale",
            "done_stale",
            "done_stale",
            "done_stale"
        ]
    );
    assert_eq!(it.kms(0).await["cache"]["stale"], 5);
    it.wait_breaker(0, "open").await;
    let open = "strongroom_kms_breaker{state=\"open\"}";
    assert_eq!(metric(&api, open).await, 1.0);

    // While it hangs, a stale key is used after a second, and at once when the breaker is open.
    it.gate.set(Mode::Hold);
    let began = Instant::now();
    read(&api, "b").await.expect(200);
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );

    // Disabled: KMS answers, and nothing that its key wrapped is read any more.
    it.gate.set(Mode::Error(400, "DisabledException"));
    it.wait_breaker(0, "closed").await;
    let refused = read(&api, "a").await.expect(503);
    assert_eq!(refused.code(), "kms_key_disabled");
    it.gate.set(Mode::Cut);
    for name in ["a", "b", "c", "a", "b", "c"] {
        let refused = read(&api, name).await.expect(503);
        assert_eq!(
            refused.code(),
            "kms_unavailable",
            "an outage brings nothing back"
        );
    }

    it.gate.set(Mode::Pass);
    it.wait_breaker(0, "closed").await;
    for name in ["a", "b", "c"] {
        read(&api, name).await.expect(200);
    }
    assert_eq!(outcomes(&it).last().unwrap(), "done");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prewarmed_node_reads_through_an_outage_from_its_start() {
    const SECRETS: usize = 40;
    let env = [
        ("VAULT_DEK_CACHE_PREWARM", "true"),
        ("VAULT_DEK_CACHE_PREWARM_PER_SEC", "20"),
        ("VAULT_KMS_MAX_RETRIES", "0"),
    ];
    let mut it = KmsCluster::start(1, &env).await;
    for n in 0..SECRETS {
        it.create(0, &format!("s/{n}")).await.expect(201);
    }
    let entries = async |it: &KmsCluster| it.kms(0).await["cache"]["entries"].as_u64().unwrap();
    let decrypts = it.gate.calls("Decrypt");
    it.restart(0).await;
    let began = Instant::now();
    // An outage in the middle of it delays it, and no more.
    tokio::time::sleep(Duration::from_millis(500)).await;
    it.gate.set(Mode::Cut);
    it.wait_breaker(0, "open").await;
    assert!(entries(&it).await < SECRETS as u64);
    it.gate.set(Mode::Pass);
    while entries(&it).await < SECRETS as u64 {
        assert!(
            began.elapsed() < PATIENCE,
            "{}",
            it.cluster.nodes[0].log_text()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(
        began.elapsed() > Duration::from_millis(1_900),
        "{:?}",
        began.elapsed()
    );
    let asked = it.gate.calls("Decrypt") - decrypts;
    assert!((SECRETS..SECRETS * 2).contains(&asked), "{asked}");
    it.gate.set(Mode::Cut);
    for n in 0..SECRETS {
        read(&it.cluster.nodes[0].api(), &format!("s/{n}"))
            .await
            .expect(200);
    }

    // Refused, it stops asking.
    it.gate.set(Mode::Pass);
    it.restart(0).await;
    it.gate.set(Mode::Error(400, "AccessDeniedException"));
    let until = Instant::now() + PATIENCE;
    while !it.cluster.nodes[0]
        .log_text()
        .contains("no more data keys are unwrapped")
    {
        assert!(Instant::now() < until, "{}", it.cluster.nodes[0].log_text());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(entries(&it).await < SECRETS as u64);
}
