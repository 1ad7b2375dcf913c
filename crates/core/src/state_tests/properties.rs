//! What holds after any list of commands.

mod weights;

use std::collections::BTreeMap;

use proptest::{collection::vec, prelude::*};

use super::{
    reference::{Model, rewrap_view_of, view_of},
    strategy::{Leader, PRINTS, SECRETS, TOKENS, apply, draws},
    *,
};
use crate::{Applied, codec, limits};
use weights::check_weight;

/// Versions that may be kept of a secret.
fn keep(state: &State, secret: &Secret, name: &SecretName) -> usize {
    let of_mount = state.mount(&mount(name.mount())).unwrap().max_versions;
    [secret.settings.max_versions, of_mount]
        .into_iter()
        .find(|max| *max > 0)
        .unwrap_or(limits::DEFAULT_MAX_VERSIONS) as usize
}

/// The shape that every secret has at all times.
fn check_secrets(before: &State, after: &State, touched: bool) {
    for (name, secret) in after.secrets() {
        let numbers: Vec<u64> = secret.versions.iter().map(|v| v.number).collect();
        assert!(
            numbers.windows(2).all(|pair| pair[1] == pair[0] + 1),
            "gaps: {numbers:?}"
        );
        assert_eq!(secret.current_version, numbers.last().copied().unwrap_or(0));
        assert!(numbers.len() <= limits::MAX_VERSIONS as usize);
        let Some(old) = before.secret(name) else {
            continue;
        };
        assert!(
            secret.current_version >= old.current_version,
            "numbers only grow"
        );
        assert!(
            secret.oldest_version() >= old.oldest_version(),
            "and do not come back"
        );
        if touched && old.current_version < secret.current_version {
            assert!(numbers.len() <= keep(after, secret, name), "{numbers:?}");
        }
        let next = secret.pending.as_ref().map(|p| p.version.number);
        assert!(next.is_none_or(|next| next == secret.current_version + 1));
        for version in &secret.versions {
            let newest = version.number == secret.current_version;
            assert_eq!(version.superseded_until.is_none(), newest);
            if let Some(was) = old.version(version.number) {
                let stays_gone = was.material == Material::Destroyed;
                assert!(!stays_gone || version.material == Material::Destroyed);
            }
        }
    }
}

/// What a token may do, written down when it was made.
#[derive(Clone, Debug)]
struct Shadow {
    name: TokenName,
    expires_at: Option<LogTime>,
    uses: Option<u64>,
    ended: bool,
}

#[derive(Default)]
struct Shadows(BTreeMap<u8, Shadow>);

impl Shadows {
    fn note(&mut self, now: LogTime, command: &Command) {
        let (name, fingerprint, ttl, uses) = match command {
            Command::CreateToken {
                name,
                fingerprint,
                ttl_secs,
                num_uses,
                ..
            } => (name.clone(), fingerprint, *ttl_secs, *num_uses),
            Command::Bootstrap { fingerprint } => {
                (token(TokenName::BOOTSTRAP), fingerprint, None, None)
            }
            Command::RevokeToken { name } => {
                self.end(name);
                return;
            }
            Command::UseToken { fingerprint } => {
                let shadow = self.0.get_mut(&fingerprint.0[0]).unwrap();
                if let Some(uses) = &mut shadow.uses {
                    *uses -= 1;
                    shadow.ended |= *uses == 0;
                }
                return;
            }
            _ => return,
        };
        self.end(&name);
        let expires_at = ttl.map(|secs| now.plus_secs(secs));
        let shadow = Shadow {
            name,
            expires_at,
            uses,
            ended: false,
        };
        self.0.insert(fingerprint.0[0], shadow);
    }

    fn end(&mut self, name: &TokenName) {
        for shadow in self.0.values_mut().filter(|shadow| shadow.name == *name) {
            shadow.ended = true;
        }
    }

    /// Each fingerprint opens what its shadow says, at every moment that could matter.
    fn check(&self, state: &State) {
        for tag in 0..PRINTS {
            let shadow = self.0.get(&tag);
            let end = shadow.and_then(|shadow| shadow.expires_at);
            let around = end.into_iter().flat_map(|end| [LogTime(end.0 - 1), end]);
            for now in around.chain([LogTime(0), state.time(), LogTime(u64::MAX)]) {
                let found = state.grant(&print(tag), now).map(|(name, _)| name.clone());
                let at = now.max(state.time());
                let expected = shadow
                    .filter(|shadow| !shadow.ended && end.is_none_or(|end| at < end))
                    .map(|shadow| shadow.name.clone());
                assert_eq!(found, expected, "{shadow:?} at {now:?}");
            }
        }
    }
}

/// What re-wrapping never does: lose its place, touch a value, or claim too much.
fn check_rewrap(before: &State, command: &Command, after: &State, applied: &Applied) {
    let (was, is) = (before.rewrap(), after.rewrap());
    assert!(is.last_id >= was.last_id, "ids only grow");
    assert!(is.running.as_ref().is_none_or(|pass| pass.id == is.last_id));
    let versions = || {
        after
            .secrets()
            .flat_map(|(_, secret)| secret.all_versions())
    };
    assert!(versions().all(|version| version.pass <= is.last_id));
    let took_effect = matches!(applied, Applied::Effect(_));
    match command {
        Command::EndPass { failed: 0, .. } if took_effect => {
            // Every version is on the watermark's key: another may be disabled from now on.
            let watermark = is.watermark.as_ref().unwrap();
            for version in versions() {
                if let Material::Sealed(sealed) = &version.material {
                    assert_eq!(sealed.kms_key_id, watermark.key_id);
                }
            }
        }
        Command::AdoptWatermark { .. } if took_effect => assert_eq!(was.running, is.running),
        Command::RewrapVersion { name, version, .. } if took_effect => {
            let mut expected = before.clone();
            let moved = after.secret(name).unwrap().any_version(*version).unwrap();
            let Material::Sealed(new) = &moved.material else {
                unreachable!()
            };
            let kept = Arc::make_mut(expected.secrets.get_mut(name).unwrap());
            let kept = kept.any_version_mut(*version).unwrap();
            kept.pass = is.last_id;
            if let Material::Sealed(old) = &mut kept.material {
                let old = Arc::make_mut(old);
                old.wrapped_dek = new.wrapped_dek.clone();
                old.kms_key_id = new.kms_key_id.clone();
                old.material_id = new.material_id.clone();
            }
            expected.rewrap.running.as_mut().unwrap().rewrapped += 1;
            assert_eq!(super::moved(expected, after), *after);
        }
        Command::BeginPass { .. } | Command::EndPass { .. } => {
            assert_eq!(was.watermark, is.watermark);
        }
        _ => assert_eq!(was, is),
    }
}

/// Derived data says what the state it is derived from says.
fn check_derived(state: &State) {
    assert_eq!(rebuilt(state), *state);
    let names: Vec<_> = state.fingerprints.values().collect();
    let mut once: Vec<_> = names.clone();
    once.sort();
    once.dedup();
    assert_eq!(names.len(), once.len());
    assert!(TOKENS.len() >= names.len());
    let mut rotations: Vec<_> = state
        .secrets()
        .filter(|(_, secret)| secret.pending.is_none())
        .filter_map(|(name, secret)| Some((secret.next_rotation_at?, name.clone())))
        .collect();
    rotations.sort();
    let pending = state
        .secrets()
        .filter(|(_, secret)| secret.pending.is_some());
    assert!(pending.map(|(name, _)| name).eq(state.pending_rotations()));
    let indexed: Vec<_> = state.rotations.iter().cloned().collect();
    assert_eq!(indexed, rotations);
    let due = |at: &LogTime| rotations.iter().filter(|(due, _)| due <= at).count();
    for (at, _) in &rotations {
        assert_eq!(state.due_rotations(*at).count(), due(at));
        assert!(state.due_rotations(LogTime(at.0 - 1)).count() < due(at));
    }
    assert_eq!(state.next_rotation(), rotations.first().map(|(at, _)| *at));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn after_any_list(draws in draws(40)) {
        let (mut leader, mut model, mut shadows) =
            (Leader::default(), Model::default(), Shadows::default());
        let mut log = Vec::new();
        let mut closed = false;
        for draw in &draws {
            let mut millis = Vec::new();
            let entry = leader.propose(draw, |before, command, after, applied| {
                // (a) A rejection leaves everything but position and time as it was.
                if let Applied::Rejected(_) = applied {
                    assert_eq!(moved(before.clone(), after), *after);
                } else {
                    shadows.note(after.time(), command);
                }
                // (b) Snapshots lose nothing and invent nothing.
                check_derived(after);
                super::access::check(before, command, after, applied);
                // (c), (d)
                check_secrets(before, after, true);
                check_rewrap(before, command, after, applied);
                assert!(after.time() >= before.time());
                assert!(after.format() >= before.format());
                // (f)
                shadows.check(after);
                closed |= after.bootstrap_closed();
                assert_eq!(closed, after.bootstrap_closed(), "closed for ever");
                millis.push((command.clone(), applied.clone(), after.clone()));
            });
            // (g) The reference model agrees, on outcomes and on reads.
            for (command, applied, after) in millis {
                // The model knows no tokens, so a write that was refused for them is as good as none.
                let refused = applied == Applied::Rejected(Rejection::AccessChanged);
                let said = if refused { Command::UseToken { fingerprint: print(0) } } else { command.clone() };
                if let Some(expected) = model.apply(entry.1.time.0, &said) {
                    prop_assert_eq!(applied.into_result().map(drop), expected, "{:?}", command);
                }
                for name in SECRETS.map(secret) {
                    prop_assert_eq!(model.view(&name), view_of(&after, &name), "{:?}", command);
                }
                prop_assert_eq!(model.rewrap_view(), rewrap_view_of(&after), "{:?}", command);
            }
            log.push(entry);
        }
        // (e) The same log gives the same state, and so does what the codec makes of the log.
        let (mut again, mut decoded) = (State::default(), State::default());
        for entry in &log {
            apply(&mut again, entry);
            let bytes = codec::encode_proposal(&entry.1);
            apply(&mut decoded, &(entry.0, codec::decode_proposal(&bytes).unwrap()));
        }
        prop_assert_eq!(&again, &leader.state);
        prop_assert_eq!(&decoded, &leader.state);
    }

    /// What differs between two states is found, among many more secrets than one node of a map holds.
    #[test]
    fn changed_secrets_are_those_that_differ(
        first in vec(0u16..2_000, 0..400),
        then in vec((0u16..2_000, 0..3), 0..60),
    ) {
        let mut state = Sut::new().state;
        let at = state.position().unwrap();
        let run = |state: &mut State, n: u16, what: i32| {
            let name = secret(&format!("secret/{n:04}"));
            let number = state.secret(&name).map_or(1, |found| found.current_version + 1);
            state.apply(at, LogTime(START), match what {
                0 => Command::DeleteSecret { name },
                _ => put(name.as_str(), number, None),
            });
        };
        for n in first {
            run(&mut state, n, 1);
        }
        let older = state.clone();
        for (n, what) in then {
            run(&mut state, n, what);
        }
        let names: std::collections::BTreeSet<_> =
            older.secrets().chain(state.secrets()).map(|(name, _)| name).collect();
        let expected: Vec<_> = names
            .into_iter()
            .filter(|name| older.secret(name) != state.secret(name))
            .collect();
        for (newer, older) in [(&state, &older), (&older, &state)] {
            let mut changed: Vec<_> = newer.changed_secrets(older).collect();
            changed.sort();
            changed.dedup();
            prop_assert_eq!(&changed, &expected);
        }
    }

    /// What has fallen due is carried out by ticks alone, and then nothing is due.
    #[test]
    fn ticks_come_to_an_end(draws in draws(30), later in 0u64..20 * 86_400_000) {
        let mut leader = Leader::default();
        for draw in &draws {
            leader.propose(draw, |_, _, _, _| ());
        }
        let mut state = leader.state;
        let at = state.position().unwrap();
        let time = LogTime(state.time().0 + later);
        for _ in 0..3 {
            state.apply(at, time, Command::Tick);
        }
        prop_assume!(state.cluster_id().is_some());
        prop_assert!(state.next_deadline().is_none_or(|due| due > time));
        for (_, grant) in state.tokens_after(None) {
            prop_assert_eq!(grant.is_live(time), grant.ended_at.is_none());
        }
        for (_, secret) in state.secrets() {
            for version in &secret.versions {
                let due = version.superseded_until.is_some_and(|until| until <= time);
                let goes = secret.destroys(version);
                prop_assert!(!(due && goes) || version.material == Material::Destroyed);
            }
        }
    }

    /// A pass moves each pending version once, whatever was written when and by whom, and then it can
    /// end; one that ends is not begun again by itself.
    #[test]
    fn passes_come_to_an_end(draws in draws(40), other_material in any::<bool>()) {
        let mut leader = Leader::default();
        for draw in &draws {
            leader.propose(draw, |_, _, _, _| ());
        }
        let mut state = leader.state;
        prop_assume!(state.cluster_id().is_some());
        let (at, time) = (state.position().unwrap(), state.time());
        let target = watermark("third", Some("m1"));
        state.apply(at, time, Command::BeginPass { target });
        let target = state.rewrap().running.clone().unwrap();
        let pending: Vec<_> = state
            .pending_rewraps()
            .map(|(name, version, sealed)| (name.clone(), version.number, sealed.clone()))
            .collect();
        for (name, version, sealed) in pending {
            let material_id = other_material.then(|| "m3".into());
            let moved = state.apply(at, time, Command::RewrapVersion {
                name,
                version,
                pass: target.id,
                replaces: sealed.wrapped_dek.clone(),
                wrapped: wrapped("anew"),
                kms_key_id: target.target.key_id.clone(),
                material_id,
            });
            prop_assert_eq!(moved, Applied::Effect(Effect::Done));
        }
        prop_assert_eq!(state.pending_rewraps().count(), 0);
        let end = Command::EndPass { id: target.id, failed: 0, last_error: None };
        prop_assert_eq!(state.apply(at, time, end), Applied::Effect(Effect::Done));
        prop_assert_eq!(state.pending_rewraps().count(), 0);
        let watermark = state.rewrap().watermark.clone().unwrap();
        prop_assert!(!watermark.is_behind(&target.target));
    }

    /// A command's weight is no less than what it weighs, give or take an entry's frame.
    #[test]
    fn weights_cover_the_bytes(draws in draws(10)) {
        let mut leader = Leader::default();
        for draw in &draws {
            for command in leader.propose(draw, |_, _, _, _| ()).1.commands {
                check_weight(command);
            }
        }
    }
}
