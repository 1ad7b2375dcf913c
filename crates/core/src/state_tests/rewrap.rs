//! Passes over all versions: how one begins, who is pending, how it ends.

use super::*;
use crate::{limits, rewrap::Pass};

impl Sut {
    #[track_caller]
    pub(super) fn begin(&mut self, target: Watermark) -> u64 {
        match self.ok(Command::BeginPass { target }) {
            Effect::Pass { id } => id,
            other => panic!("{other:?} is no pass"),
        }
    }

    #[track_caller]
    pub(super) fn end(&mut self, id: u64, failed: u64) {
        assert_eq!(self.ok(end(id, failed)), Effect::Done);
    }

    /// What the running pass has still to move, as `name:version`.
    pub(super) fn pending(&self) -> Vec<String> {
        self.state
            .pending_rewraps()
            .map(|(name, version, _)| format!("{name}:{}", version.number))
            .collect()
    }

    pub(super) fn sealed(&self, name: &str, number: u64) -> Arc<SealedVersion> {
        match &self.get(name).version(number).unwrap().material {
            Material::Sealed(sealed) => sealed.clone(),
            Material::Destroyed => panic!("it is destroyed"),
        }
    }

    /// A rewrap of a version as it is now, by the running pass, onto its target.
    pub(super) fn rewrap(&self, name: &str, version: u64) -> Command {
        let running = self.running();
        let old = self.sealed(name, version).wrapped_dek.clone();
        Command::RewrapVersion {
            name: secret(name),
            version,
            pass: running.id,
            wrapped: wrapped(&format!("{old:?} in pass {}", running.id)),
            replaces: old,
            kms_key_id: running.target.key_id,
            material_id: running.target.material_id,
        }
    }

    fn running(&self) -> Pass {
        self.state.rewrap().running.clone().unwrap()
    }

    /// Moves everything that is pending; the pass then has nothing more to do.
    pub(super) fn sweep(&mut self) {
        for pending in self.pending() {
            let (name, number) = pending.rsplit_once(':').unwrap();
            let command = self.rewrap(name, number.parse().unwrap());
            self.ok(command);
        }
        assert!(self.pending().is_empty());
    }
}

pub(super) fn end(id: u64, failed: u64) -> Command {
    Command::EndPass {
        id,
        failed,
        last_error: (failed > 0).then(|| "no such key".to_owned()),
    }
}

/// Three versions of two secrets, wrapped by the first material of `key`.
pub(super) fn three() -> Sut {
    let mut sut = Sut::new();
    for (name, number) in [("secret/a", 1), ("secret/a", 2), ("secret/b", 1)] {
        sut.ok(put_sealed(
            name,
            number,
            None,
            sealed_by(number, "key", Some("m1")),
        ));
    }
    sut
}

fn m(n: u8) -> Watermark {
    watermark("key", Some(&format!("m{n}")))
}

#[test]
fn a_baseline_is_adopted_once_and_sweeps_nothing() {
    let mut sut = three();
    sut.ok(Command::AdoptWatermark { watermark: m(1) });
    assert_eq!(sut.state.rewrap().watermark, Some(m(1)));
    assert_eq!(sut.state.rewrap().running, None);
    assert!(sut.pending().is_empty());
    sut.refused(
        Command::AdoptWatermark { watermark: m(2) },
        Rejection::AlreadyExists,
    );
    assert_eq!(sut.state.rewrap().watermark, Some(m(1)));
}

#[test]
fn a_pass_moves_all_and_becomes_the_watermark() {
    let mut sut = three();
    sut.ok(Command::AdoptWatermark { watermark: m(1) });
    sut.pass(5);
    assert_eq!(sut.begin(m(2)), 1);
    let began_at = sut.now();
    assert_eq!(sut.pending(), ["secret/a:1", "secret/a:2", "secret/b:1"]);
    sut.pass(5);
    let command = sut.rewrap("secret/a", 2);
    sut.ok(command);
    assert_eq!(sut.pending(), ["secret/a:1", "secret/b:1"]);
    assert_eq!(sut.running().rewrapped, 1);
    assert_eq!(sut.running().began_at, began_at);
    sut.refused(end(1, 0), Rejection::InUse);
    sut.sweep();
    sut.end(1, 0);
    let rewrap = sut.state.rewrap();
    assert_eq!((&rewrap.watermark, &rewrap.running), (&Some(m(2)), &None));
    let ended = rewrap.ended.clone().unwrap();
    assert_eq!((ended.pass.id, ended.pass.rewrapped), (1, 3));
    assert_eq!((ended.failed, ended.last_error), (0, None));
    assert_eq!((ended.pass.began_at, ended.ended_at), (began_at, sut.now()));
    assert!(sut.pending().is_empty());
}

#[test]
fn a_running_pass_is_named_instead_of_a_second_one() {
    let mut sut = three();
    assert_eq!(sut.begin(m(2)), 1);
    let command = sut.rewrap("secret/a", 1);
    sut.ok(command);
    let running = sut.running();
    assert_eq!(sut.begin(m(2)), 1);
    assert_eq!(sut.begin(watermark("other", None)), 1);
    assert_eq!(sut.running(), running, "nothing of it has changed");
}

#[test]
fn only_the_running_pass_ends() {
    let mut sut = three();
    sut.refused(end(0, 0), Rejection::NotFound);
    sut.refused(end(1, 0), Rejection::NotFound);
    sut.begin(m(2));
    sut.sweep();
    for id in [0, 2, u64::MAX] {
        sut.refused(end(id, 0), Rejection::NotFound);
        sut.refused(end(id, 1), Rejection::NotFound);
    }
    sut.end(1, 0);
    // A leader of the past, or the same entry again.
    sut.refused(end(1, 0), Rejection::NotFound);
    sut.refused(end(1, 7), Rejection::NotFound);
    assert_eq!(sut.state.rewrap().watermark, Some(m(2)));
}

#[test]
fn a_pass_with_failures_keeps_the_watermark_and_is_taken_up_again() {
    let mut sut = three();
    sut.ok(Command::AdoptWatermark { watermark: m(1) });
    sut.begin(m(2));
    for (name, number) in [("secret/a", 1), ("secret/b", 1)] {
        let command = sut.rewrap(name, number);
        sut.ok(command);
    }
    sut.end(1, 1);
    let rewrap = sut.state.rewrap().clone();
    assert_eq!(rewrap.watermark, Some(m(1)));
    assert_eq!(rewrap.ended.unwrap().last_error.unwrap(), "no such key");
    assert_eq!(
        sut.pending(),
        ["secret/a:2"],
        "the old key is still needed, and that shows"
    );
    sut.pass(60);
    assert_eq!(sut.begin(m(2)), 1, "the same pass again");
    assert_eq!(sut.pending(), ["secret/a:2"]);
    assert_eq!(
        (sut.running().rewrapped, sut.running().began_at),
        (0, sut.now())
    );
    sut.end(1, 1);
    // To another target it is another pass, over all.
    assert_eq!(sut.begin(m(3)), 2);
    assert_eq!(sut.pending().len(), 3);
    sut.end(2, 1);
    // Nor is an earlier one taken up once another has come between.
    assert_eq!(sut.begin(m(2)), 3);
    assert_eq!(sut.state.rewrap().watermark, Some(m(1)));
}

#[test]
fn a_failure_that_went_away_no_longer_shows() {
    let mut sut = three();
    sut.begin(m(2));
    for (name, number) in [("secret/a", 1), ("secret/a", 2)] {
        let command = sut.rewrap(name, number);
        sut.ok(command);
    }
    sut.end(1, 1);
    assert_eq!(sut.pending(), ["secret/b:1"]);
    sut.ok(Command::DeleteSecret {
        name: secret("secret/b"),
    });
    assert!(sut.pending().is_empty());
    assert_eq!(sut.begin(m(2)), 1);
    sut.end(1, 0);
    assert_eq!(sut.state.rewrap().watermark, Some(m(2)));
}

#[test]
fn a_forced_pass_to_the_same_target_is_a_new_one_over_what_is_not_known() {
    let unknown = || watermark("key", None);
    let mut sut = three();
    sut.begin(unknown());
    sut.sweep();
    sut.end(1, 0);
    assert_eq!(sut.begin(unknown()), 2);
    assert_eq!(sut.pending().len(), 3, "no material is named: all again");
    sut.sweep();
    sut.end(2, 0);

    assert_eq!(sut.begin(m(2)), 3);
    sut.sweep();
    sut.end(3, 0);
    assert_eq!(sut.begin(m(2)), 4);
    assert!(sut.pending().is_empty(), "all are covered");
    sut.end(4, 0);
}

#[test]
fn what_the_target_covers_is_not_pending() {
    let mut sut = three();
    let seal = |key, material| sealed_by(9, key, material);
    sut.ok(put_sealed("secret/c", 1, None, seal("key", Some("m2"))));
    sut.ok(put_sealed("secret/d", 1, None, seal("other", Some("m2"))));
    sut.ok(put_sealed("secret/e", 1, None, seal("key", None)));
    sut.begin(m(2));
    let rest = ["secret/d:1", "secret/e:1"];
    assert_eq!(sut.pending()[3..], rest);
    sut.sweep();
    sut.end(1, 0);
    // Without a material id in the target nothing is known.
    sut.begin(watermark("key", None));
    assert_eq!(sut.pending().len(), 6);
}

#[test]
fn a_cluster_without_secrets_passes_at_once() {
    let mut sut = Sut::new();
    sut.ok(create("secret/empty", SecretSettings::manual(), None));
    sut.begin(m(1));
    assert!(sut.pending().is_empty());
    sut.end(1, 0);
    assert_eq!(sut.state.rewrap().watermark, Some(m(1)));
}

/// What goes into the state for ever is bounded.
#[test]
fn watermarks_have_limits_and_long_errors_are_cut() {
    let mut sut = Sut::new();
    let longest = || Watermark {
        key_id: KmsKeyId("k".repeat(limits::KMS_KEY_ID_BYTES).into()),
        rotation_at: None,
        material_id: Some("m".repeat(limits::LABEL_BYTES).into()),
    };
    let spoils: [fn(&mut Watermark); 2] = [
        |w| w.key_id.0 = format!("{}k", w.key_id.0).into(),
        |w| w.material_id = Some("m".repeat(limits::LABEL_BYTES + 1).into()),
    ];
    for spoil in spoils {
        let mut watermark = longest();
        spoil(&mut watermark);
        let target = watermark.clone();
        sut.refused(Command::BeginPass { target }, Rejection::Invalid);
        sut.refused(Command::AdoptWatermark { watermark }, Rejection::Invalid);
    }
    let watermark = longest();
    sut.ok(Command::AdoptWatermark { watermark });
    sut.begin(longest());
    sut.ok(Command::EndPass {
        id: 1,
        failed: 1,
        last_error: Some("é".repeat(10_000)),
    });
    let kept = sut.state.rewrap().ended.clone().unwrap().last_error;
    assert_eq!(kept, Some("é".repeat(limits::LABEL_BYTES)));
}

#[test]
fn a_watermark_is_behind_when_the_same_key_was_rotated() {
    let at = |at: Option<u64>, material| Watermark {
        rotation_at: at.map(LogTime),
        ..watermark("key", material)
    };
    for (then, now, behind) in [
        (at(None, None), at(None, None), false),
        (at(None, None), at(Some(1), None), true),
        (at(Some(1), None), at(Some(1), None), false),
        (at(Some(1), None), at(Some(2), None), true),
        (at(Some(2), None), at(Some(1), None), false),
        // The rotations can no longer be listed, and the material says it.
        (at(Some(1), Some("m1")), at(None, Some("m1")), false),
        (at(Some(1), Some("m1")), at(None, Some("m2")), true),
        (at(None, Some("m1")), at(None, None), false),
        (at(None, None), at(None, Some("m1")), false),
        // Another key is nobody's rotation: that takes a forced pass.
        (
            at(Some(1), Some("m1")),
            watermark("other", Some("m2")),
            false,
        ),
    ] {
        assert_eq!(then.is_behind(&now), behind, "{then:?} {now:?}");
    }
}
