//! What is not recovered, and stays as it is.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_runs_or_is_none_or_is_damaged_is_refused() {
    let _turn = alone().await;
    let mut cluster = Cluster::start(3).await;
    create(&cluster.admin(0), "kept", 3).await;
    let data = cluster.nodes[0].data_dir.clone();
    for flag in ["--yes", "--dry-run"] {
        let runs = recover(&data, &[flag]);
        assert_eq!(runs.code, 3, "{}", runs.out);
        assert!(
            runs.err.contains("in use by another process"),
            "{}",
            runs.err
        );
    }
    cluster.nodes[0].wait_ready().await;
    let none = cluster.dir.path().join("none");
    let wrong = recover(&none, &["--yes"]);
    assert_eq!(wrong.code, 2, "{}", wrong.err);
    assert!(!none.exists());
    let empty = cluster.dir.path().join("empty");
    fs::create_dir(&empty).unwrap();
    assert_eq!(recover(&empty, &["--yes"]).code, 2);
    assert_eq!(recover(&data.join("log"), &["--yes"]).code, 2);
    assert_eq!(fs::read_dir(&empty).unwrap().count(), 0);
    assert_eq!(run(&["recover", "--yes"]).code, 2, "it must be told where");
    let both = recover(&data, &["--yes", "--dry-run"]);
    assert_eq!(both.code, 2, "{}", both.err);

    cluster.nodes.iter_mut().for_each(Node::kill);
    // A trail that is not the node's would be one that nobody looks at.
    let elsewhere = cluster.dir.path().join("elsewhere");
    let astray = recover(
        &data,
        &["--yes", "--audit-dir", elsewhere.to_str().unwrap()],
    );
    assert_eq!(astray.code, 2, "{}", astray.err);
    assert!(astray.err.contains("--audit-dir"), "{}", astray.err);
    let db = data.join("log/db");
    let mut bytes = fs::read(&db).unwrap();
    let middle = bytes.len().min(1 << 20) / 2;
    bytes
        .iter_mut()
        .skip(64)
        .take(middle)
        .for_each(|byte| *byte ^= 0x5a);
    fs::write(&db, bytes).unwrap();
    let identity = fs::read(data.join("node.json")).unwrap();
    let damaged = recover(&data, &["--yes"]);
    assert_eq!(damaged.code, 3, "{}{}", damaged.out, damaged.err);
    assert_eq!(fs::read(data.join("node.json")).unwrap(), identity);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_has_never_been_a_member_is_refused() {
    let _turn = alone().await;
    let mut cluster = Cluster::prepare(3, &[]);
    cluster.nodes[0].start();
    let data = cluster.nodes[0].data_dir.clone();
    let deadline = Instant::now() + PATIENCE;
    while !data.join("log").exists() {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    cluster.nodes[0].kill();
    let refused = recover(&data, &["--yes"]);
    assert_eq!(refused.code, 2, "{}{}", refused.out, refused.err);
    assert!(
        refused.err.contains("never been a member"),
        "{}",
        refused.err
    );
}
