//! Certificate, key and authority of clients: at the start, and when they change.

use super::*;

const EXPIRY: &str = "strongroom_tls_certificate_expiry_seconds";
const REFUSED: &str = "strongroom_tls_reloads_refused_total";
const RELOADS: &str = "strongroom_tls_reloads_total";
/// Clients that ask without a pause while the certificate is replaced.
const BUSY: usize = 64;

/// Pairs that cannot be used, and what is said of them.
fn bad_pairs(ca: &Ca) -> Vec<(&'static str, Pair)> {
    let (good, other) = (ca.good(), ca.good());
    let half = |text: &str| text[..text.len() * 2 / 3].to_owned();
    let pair = |cert: &str, key: &str| Pair {
        cert: cert.to_owned(),
        key: key.to_owned(),
    };
    vec![
        ("expired at", ca.issue(-9, -1)),
        ("not valid before", ca.issue(1, 9)),
        ("does not fit", pair(&good.cert, &other.key)),
        ("VAULT_TLS_CERT", pair(&half(&good.cert), &good.key)),
        ("VAULT_TLS_KEY", pair(&good.cert, &half(&good.key))),
        ("VAULT_TLS_CERT", pair("", &good.key)),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_used_stops_the_start_and_says_why() {
    let ca = Ca::new("test");
    for (words, pair) in bad_pairs(&ca) {
        let (mut cluster, files) = prepare(&ca, &[]);
        files.put(&pair);
        let node = &mut cluster.nodes[0];
        node.start();
        assert_eq!(node.wait().code(), Some(2), "{words}");
        let log = node.log_text();
        let last = log.trim_end().lines().last().unwrap();
        assert!(last.contains(words), "{words}: {log}");
        assert!(last.contains("VAULT_TLS_"), "{log}");
        let secret = pair.key.lines().nth(1).unwrap_or("no line of a key");
        assert!(!log.contains(secret), "{log}");
        assert!(!node.data_dir.exists(), "{words}");
    }
    let (mut cluster, files) = prepare(&ca, &[]);
    fs::remove_file(&files.key).unwrap();
    cluster.nodes[0].start();
    assert_eq!(cluster.nodes[0].wait().code(), Some(2));
    let log = cluster.nodes[0].log_text();
    assert!(log.contains("VAULT_TLS_KEY") && log.contains("No such file"));
    // One of them alone is a mistake.
    for key in ["VAULT_TLS_CERT", "VAULT_TLS_KEY"] {
        let (mut cluster, _files) = prepare(&ca, &[]);
        cluster.nodes[0].env.remove(key);
        cluster.nodes[0].start();
        assert_eq!(cluster.nodes[0].wait().code(), Some(2));
        let log = cluster.nodes[0].log_text();
        assert!(log.contains(&format!("{key} is needed with")), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_used_is_told_once_and_the_old_pair_stays() {
    let ca = Ca::new("test");
    let (cluster, files) = start(&ca, &[]).await;
    let node = &cluster.nodes[0];
    let client = Client::of(&ca);
    let (shown, mut refused) = (client.shown(node).await, 0);
    for (words, pair) in bad_pairs(&ca) {
        files.put(&pair);
        let until = Instant::now() + PATIENCE;
        loop {
            let page = metrics(&client, node).await;
            let now = metric(&page, REFUSED).unwrap();
            if now > refused {
                refused = now;
                break;
            }
            assert!(Instant::now() < until, "{words}: {}", node.log_text());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        // Looked at again and again, and told once.
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        let page = metrics(&client, node).await;
        assert_eq!(metric(&page, REFUSED), Some(refused), "{words}");
        assert_eq!(metric(&page, RELOADS), Some(0), "{words}");
        assert_eq!(client.shown(node).await, shown, "{words}");
        assert!(metric(&page, EXPIRY).unwrap() > 80 * 86_400, "{page}");
        let log = node.log_text();
        let told = log.matches("changed TLS files are not used").count();
        assert_eq!(i64::try_from(told).unwrap(), refused, "{log}");
        assert!(log.contains(words), "{log}");
    }
    files.put(&ca.issue(-1, 30));
    says(node, "changed TLS files are in use").await;
    assert_ne!(client.shown(node).await, shown);
    let page = metrics(&client, node).await;
    let left = metric(&page, EXPIRY).unwrap();
    assert!((29 * 86_400..=30 * 86_400).contains(&left), "{left}");
    assert_eq!(metric(&page, RELOADS), Some(1), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pair_is_replaced_under_busy_connections_and_no_request_fails() {
    let ca = Ca::new("test");
    let (mut cluster, files) = start(&ca, &[]).await;
    let client = Client::of(&ca);
    let to = address(&cluster.nodes[0]);
    write(&client, &cluster.nodes[0], "s").await;
    let stop = Arc::<AtomicBool>::default();
    let clients: Vec<_> = (0..BUSY)
        .map(|place| {
            let (client, stop) = (client.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut talk = client.connect_to(to).await.unwrap();
                let (mut kept, mut anew) = (0_u64, 0_u64);
                while !stop.load(Ordering::Relaxed) {
                    // Half of them connect anew now and then, and all speak on one connection.
                    if place % 2 == 0 && kept % 20 == 19 {
                        talk = client.connect_to(to).await.unwrap();
                        anew += 1;
                    }
                    let read = talk.ask("GET", "/v1/secrets/s", None, "").await;
                    assert_eq!(read.unwrap().expect(200).json["value"], "v");
                    kept += 1;
                }
                (kept, anew)
            })
        })
        .collect();
    let mut shown = vec![client.shown(&cluster.nodes[0]).await];
    for round in 1..=3 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        files.put(&ca.good());
        if round == 2 {
            cluster.nodes[0].signal(rustix::process::Signal::HUP);
        }
        let until = Instant::now() + PATIENCE;
        loop {
            let now = client.shown(&cluster.nodes[0]).await;
            if !shown.contains(&now) {
                shown.push(now);
                break;
            }
            assert!(Instant::now() < until, "round {round}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    let (mut requests, mut connections) = (0, 0);
    for client in clients {
        let (kept, anew) = client.await.expect("a client without errors");
        requests += kept;
        connections += anew;
    }
    println!(
        "{BUSY} clients, 3 new certificates: {requests} requests and {connections} new connections, \
         0 errors"
    );
    assert!(requests > 1_000 && connections > 0);
    assert!(cluster.nodes[0].terminate().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_ends_soon_and_a_key_for_everybody_are_warned_of() {
    let ca = Ca::new("test");
    let (mut cluster, files) = prepare(&ca, &[]);
    files.put(&ca.issue(-1, 13));
    fs::set_permissions(&files.key, fs::Permissions::from_mode(0o644)).unwrap();
    cluster.nodes[0].start();
    let client = Client::of(&ca);
    let node = &cluster.nodes[0];
    client.wait_ready(node).await;
    says(node, "the API's certificate expires soon").await;
    says(node, "can be read by every user").await;
    let left = metric(&metrics(&client, node).await, EXPIRY).unwrap();
    assert!((12 * 86_400..=13 * 86_400).contains(&left), "{left}");
    tokio::time::sleep(Duration::from_secs(3)).await;
    let log = node.log_text();
    assert_eq!(log.matches("expires soon").count(), 1, "{log}");
    // Of the next one as well, as soon as it is in use.
    files.put(&ca.issue(-1, 3));
    says(node, "changed TLS files are in use").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(node.log_text().matches("expires soon").count(), 2);
    // Without TLS there is nothing to tell.
    let plain = Cluster::start(1).await;
    let page = plain.nodes[0].api().get("/metrics").await.text;
    assert!(!page.contains("strongroom_tls_"), "{page}");
}
