//! What the model says of re-wrapping.

use super::*;

/// How a data key is wrapped, and by what.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Wrap {
    pub(super) dek: WrappedDek,
    pub(super) key: KmsKeyId,
    pub(super) material: Option<SharedText>,
}

impl Wrap {
    pub(super) fn of(sealed: &SealedVersion) -> Self {
        Self {
            dek: sealed.wrapped_dek.clone(),
            key: sealed.kms_key_id.clone(),
            material: sealed.material_id.clone(),
        }
    }

    /// By the target's material for certain, or by it as far as anybody knows.
    pub(super) fn is_by(&self, target: &Watermark, certain: bool) -> bool {
        let materials = match (&self.material, &target.material_id) {
            (Some(a), Some(b)) => a == b,
            _ => !certain,
        };
        self.key == target.key_id && materials
    }
}

/// What the model knows of passes: the newest one alone.
#[derive(Default)]
pub(super) struct Passes {
    pub(super) watermark: Option<Watermark>,
    newest: u64,
    pub(super) target: Option<Watermark>,
    runs: bool,
    left_behind: bool,
}

/// What anybody can find out about re-wrapping: the watermark, the running pass, the versions it has
/// still to move.
pub(in super::super) type RewrapView = (Option<Watermark>, Option<u64>, Vec<(String, u64)>);

pub(in super::super) fn rewrap_view_of(state: &State) -> RewrapView {
    let pending = state
        .pending_rewraps()
        .map(|(name, version, _)| (name.as_str().to_owned(), version.number));
    let running = state.rewrap().running.as_ref().map(|pass| pass.id);
    (state.rewrap().watermark.clone(), running, pending.collect())
}

impl Model {
    pub(in super::super) fn rewrap_view(&self) -> RewrapView {
        let passes = &self.passes;
        let running = passes.runs.then_some(passes.newest);
        (passes.watermark.clone(), running, self.pending())
    }

    fn pending(&self) -> Vec<(String, u64)> {
        let mut pending = Vec::new();
        let Some(target) = &self.passes.target else {
            return pending;
        };
        if !self.passes.runs && !self.passes.left_behind {
            return pending;
        }
        for (name, entry) in &self.secrets {
            let next = entry.pending.as_ref().map(|pending| &pending.version);
            let next = next.map(|version| (entry.count + 1, version));
            let versions = entry.versions.iter().map(|(number, v)| (*number, v));
            for (number, version) in versions.chain(next) {
                let there = version.tag.is_some();
                if there && !version.moved && !version.wrap.is_by(target, true) {
                    pending.push((name.clone(), number));
                }
            }
        }
        pending
    }

    pub(super) fn begin_pass(&mut self, target: &Watermark) {
        if self.passes.runs {
            return;
        }
        self.passes.runs = true;
        if self.passes.left_behind && self.passes.target.as_ref() == Some(target) {
            return;
        }
        self.passes.newest += 1;
        self.passes.target = Some(target.clone());
        for entry in self.secrets.values_mut() {
            let next = entry.pending.as_mut().map(|pending| &mut pending.version);
            for version in entry.versions.values_mut().chain(next) {
                version.moved = false;
            }
        }
    }

    pub(super) fn end_pass(&mut self, id: u64, failed: u64) -> Result<(), Rejection> {
        if !self.passes.runs || self.passes.newest != id {
            return Err(Rejection::NotFound);
        }
        if failed == 0 {
            if !self.pending().is_empty() {
                return Err(Rejection::InUse);
            }
            self.passes.watermark = self.passes.target.clone();
        }
        self.passes.runs = false;
        self.passes.left_behind = failed > 0;
        Ok(())
    }

    pub(super) fn rewrap(
        &mut self,
        name: &SecretName,
        number: u64,
        pass: u64,
        replaces: &WrappedDek,
        new: Wrap,
    ) -> Result<(), Rejection> {
        match &self.passes.target {
            Some(target) if self.passes.runs && self.passes.newest == pass => {
                if target.key_id != new.key {
                    return Err(Rejection::Invalid);
                }
            }
            _ => return Err(Rejection::NotFound),
        }
        let entry = self.secrets.get_mut(name.as_str());
        let version = entry
            .and_then(|entry| match number == entry.count + 1 {
                true => entry.pending.as_mut().map(|pending| &mut pending.version),
                false => entry.versions.get_mut(&number),
            })
            .filter(|version| version.tag.is_some())
            .ok_or(Rejection::NotFound)?;
        if version.wrap.dek != *replaces {
            return Err(Rejection::AlreadyExists);
        }
        version.wrap = new;
        version.moved = true;
        Ok(())
    }
}
