//! Drafts of rotations that are applied to a target.

use proptest::{prelude::*, sample::select};

use super::*;

/// One step of one secret's rotation, mostly of the one that is under way.
#[derive(Clone, Debug)]
pub(in super::super) struct Turn {
    name: &'static str,
    step: u8,
    off: i8,
    stale: bool,
    sealed: SealedVersion,
}

impl Turn {
    pub(super) fn command(&self, state: &State) -> Command {
        // The secret that is turning over, if one is, so that steps follow each other.
        let turning = state.pending_rotations().next().cloned();
        let name = turning.unwrap_or_else(|| secret(self.name));
        let found = state.secret(&name);
        let current = found.map_or(0, |found| found.current_version);
        let pending = found.and_then(|found| found.pending.as_ref()?.sealed());
        let nonce = match pending {
            Some(sealed) if !self.stale => sealed.nonce,
            _ => self.sealed.nonce,
        };
        match self.step {
            0 => Command::BeginRotation {
                name: secret(self.name),
                cas: state
                    .secret(&secret(self.name))
                    .map_or(0, |found| found.current_version)
                    .saturating_add_signed(self.off.into()),
                version: NewVersion {
                    number: state
                        .secret(&secret(self.name))
                        .map_or(0, |found| found.current_version)
                        + 1,
                    sealed: self.sealed.clone(),
                },
            },
            1 => Command::BeginRotation {
                cas: current,
                version: NewVersion {
                    number: (current + 1).saturating_add_signed(self.off.into()),
                    sealed: self.sealed.clone(),
                },
                name,
            },
            2 | 3 => Command::MarkRotation {
                name,
                nonce,
                applying: self.step == 2,
            },
            _ => Command::EndRotation { name, nonce },
        }
    }
}

pub(super) fn turn_draft() -> impl Strategy<Value = Turn> {
    let off = prop_oneof![9 => Just(0i8), 1 => -1i8..=1];
    let stale = proptest::bool::weighted(0.1);
    (select(&SECRETS[..]), 0u8..6, off, stale, any_sealed()).prop_map(
        |(name, step, off, stale, sealed)| Turn {
            name,
            step,
            off,
            stale,
            sealed,
        },
    )
}
