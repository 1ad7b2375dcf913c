//! What a write does to one entry of the model.

use super::*;

pub(super) fn fresh(settings: SecretSettings) -> Entry {
    Entry {
        settings,
        next_rotation: None,
        count: 0,
        versions: BTreeMap::new(),
        pending: None,
    }
}

impl Version {
    pub(super) fn of(now: u64, sealed: &SealedVersion, target: Option<&Watermark>) -> Self {
        Self {
            tag: Some(tag_of(sealed)),
            wrap: Wrap::of(sealed),
            moved: target.is_some_and(|target| Wrap::of(sealed).is_by(target, false)),
            made: now,
            grace_end: None,
            deleted: None,
        }
    }
}

impl Entry {
    pub(super) fn schedule(&mut self, now: u64) {
        let since = self
            .versions
            .values()
            .next_back()
            .map_or(now, |newest| newest.made);
        self.next_rotation = match &self.settings.kind {
            Kind::Manual => None,
            Kind::Automatic {
                rotation_interval_secs,
                ..
            } => Some(since + rotation_interval_secs * 1_000),
        };
    }

    pub(super) fn add(
        &mut self,
        now: u64,
        mount: &MountSettings,
        sealed: &SealedVersion,
        target: Option<&Watermark>,
    ) {
        self.append(now, mount, Version::of(now, sealed, target));
    }

    pub(super) fn append(&mut self, now: u64, mount: &MountSettings, version: Version) {
        if let Some(newest) = self.versions.get_mut(&self.count) {
            newest.grace_end = Some(now + self.settings.grace_period_secs * 1_000);
        }
        let life = match self.settings.delete_version_after_secs {
            0 => mount.delete_version_after_secs,
            own => own,
        };
        let deleted = if life == 0 {
            None
        } else {
            Some(now + life * 1_000)
        };
        self.count += 1;
        self.versions.insert(
            self.count,
            Version {
                made: now,
                deleted,
                ..version
            },
        );
        self.schedule(now);
        self.trim(mount);
    }

    pub(super) fn trim(&mut self, mount: &MountSettings) {
        let keep = match (self.settings.max_versions, mount.max_versions) {
            (0, 0) => 10,
            (0, of_mount) => of_mount,
            (own, _) => own,
        };
        while self.versions.len() > keep as usize {
            self.versions.pop_first();
        }
    }
}
