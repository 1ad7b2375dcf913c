//! Drafts of re-wrap passes, and values wrapped by few keys.

use proptest::{prelude::*, sample::select};

use super::*;

const KEYS: [&str; 3] = ["key", "key", "other"];
const MATERIALS: [Option<&str>; 3] = [None, Some("m1"), Some("m2")];

pub(super) fn rewrap(
    state: &State,
    nth: usize,
    off: i8,
    stale: bool,
    new: &SealedVersion,
) -> Command {
    let versions: Vec<_> = state
        .secrets()
        .flat_map(|(name, secret)| secret.all_versions().map(move |version| (name, version)))
        .collect();
    let chosen = nth.checked_rem(versions.len()).map(|at| versions[at]);
    let replaces = match chosen.map(|(_, version)| &version.material) {
        Some(Material::Sealed(old)) if !stale => old.wrapped_dek.clone(),
        _ => wrapped("as it was"),
    };
    Command::RewrapVersion {
        name: chosen.map_or_else(|| secret("secret/a"), |(name, _)| name.clone()),
        version: chosen.map_or(1, |(_, version)| version.number),
        pass: state.rewrap().last_id.saturating_add_signed(off.into()),
        replaces,
        wrapped: new.wrapped_dek.clone(),
        kms_key_id: new.kms_key_id.clone(),
        material_id: new.material_id.clone(),
    }
}

/// A sealed version, wrapped by one of few keys and materials.
pub(super) fn any_sealed() -> impl Strategy<Value = SealedVersion> {
    (1u64..1_000, select(&KEYS[..]), select(&MATERIALS[..]))
        .prop_map(|(tag, key, material)| sealed_by(tag, key, material))
}

pub(super) fn rewrap_draft() -> impl Strategy<Value = Draft> {
    let off = || prop_oneof![12 => Just(0i8), 1 => -1i8..=1];
    let target = || {
        (
            select(&KEYS[..]),
            select(&MATERIALS[..]),
            proptest::option::weighted(0.2, 0u64..3),
        )
            .prop_map(|(key, material, at)| Watermark {
                rotation_at: at.map(LogTime),
                ..watermark(key, material)
            })
    };
    let stale = proptest::bool::weighted(0.1);
    let rewrap = (any::<usize>(), off(), stale, any_sealed());
    prop_oneof![
        1 => target().prop_map(|watermark| Draft::Fixed(Command::AdoptWatermark { watermark })),
        3 => target().prop_map(|target| Draft::Fixed(Command::BeginPass { target })),
        6 => rewrap.prop_map(|(nth, off, stale, new)| Draft::Rewrap { nth, off, stale, new }),
        2 => (off(), 0u64..3).prop_map(|(off, failed)| Draft::EndPass { off, failed }),
    ]
}
