//! An upgrade under way: members of different versions in one cluster, in one process.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod wires;

use std::{sync::Arc, time::Duration};

use strongroom_core::{Applied, Command, KmsKeyId, Replica, SubmitError, rewrap::Watermark};

use wires::{WITHIN, Wires, mount, start};

/// A command that the first format does not hold.
fn newer() -> Command {
    let target = Watermark {
        key_id: KmsKeyId("key".into()),
        rotation_at: None,
        material_id: None,
    };
    let command = Command::AdoptWatermark { watermark: target };
    assert!(command.since() > 1);
    command
}

/// Another one, which takes effect any number of times.
fn another() -> Command {
    let command = Command::BeginPass {
        target: Watermark {
            key_id: KmsKeyId("key".into()),
            rotation_at: None,
            material_id: None,
        },
    };
    assert!(command.since() > 1);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_waits_for_the_oldest_member() {
    let newest = strongroom_core::codec::FORMAT;
    let (dir, wires) = (tempfile::tempdir().unwrap(), Arc::new(Wires::default()));
    let one = start(&dir, &wires, "1", newest).await;
    let two = start(&dir, &wires, "2", newest).await;
    let three = start(&dir, &wires, "3", 1).await;

    // Reads open once the cluster has its identity.
    while one.local().is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // What every version decodes is replicated, and through every node.
    for (node, name) in [(&one, "a"), (&two, "b"), (&three, "c")] {
        let submitted = node.submit(mount(name), WITHIN).await;
        assert!(
            matches!(submitted.unwrap().applied, Applied::Effect(_)),
            "{name}"
        );
    }
    // What the third does not decode is not, through whichever node it is asked.
    for node in [&one, &two, &three] {
        assert_eq!(
            node.submit(newer(), WITHIN).await.unwrap_err(),
            SubmitError::NotEverywhere
        );
    }

    // A member that cannot be asked has announced nothing.
    wires.remove("3");
    three.shutdown().await;
    drop(three);
    let submitted = one.submit(newer(), WITHIN).await;
    assert_eq!(submitted.unwrap_err(), SubmitError::NotEverywhere);

    // Upgraded: nobody has to say so.
    let three = start(&dir, &wires, "3", newest).await;
    let accepted = async {
        loop {
            match one.submit(newer(), WITHIN).await {
                Ok(submitted) => return submitted,
                Err(SubmitError::NotEverywhere) => {
                    tokio::time::sleep(Duration::from_millis(100)).await
                }
                Err(error) => panic!("{error}"),
            }
        }
    };
    let accepted = tokio::time::timeout(Duration::from_secs(60), accepted)
        .await
        .unwrap();
    assert!(matches!(accepted.applied, Applied::Effect(_)));

    // From now on it holds, also while a member is away, and whoever leads.
    wires.remove("3");
    three.shutdown().await;
    drop(three);
    for node in [&one, &two] {
        let submitted = node.submit(another(), WITHIN).await;
        assert!(matches!(submitted.unwrap().applied, Applied::Effect(_)));
    }
    // Who lost its disk and comes back with an older version is not let in.
    std::fs::remove_dir_all(dir.path().join("3")).unwrap();
    let three = start(&dir, &wires, "3", 1).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let view = one.cluster().await;
    let member = view.nodes.iter().find(|node| node.name == "3").unwrap();
    assert!(!member.reachable, "the one that is gone is still listed");
    three.shutdown().await;
    wires.remove("3");
    drop(three);
    std::fs::remove_dir_all(dir.path().join("3")).unwrap();
    let three = start(&dir, &wires, "3", newest).await;
    let let_in = async {
        while three.local().is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), let_in)
        .await
        .unwrap();
    for node in [one, two, three] {
        node.shutdown().await;
    }
}
