//! A second, slower implementation of what commands do to secrets, written from the contract alone:
//! plain maps, and no derived data.

mod entries;
mod passes;
mod targets;

use entries::fresh;

use std::collections::BTreeMap;

use super::*;
use crate::limits;
use passes::{Passes, Wrap};

pub(super) use passes::rewrap_view_of;

#[derive(Clone)]
struct Version {
    tag: Option<u64>,
    wrap: Wrap,
    /// Whether the newest pass need not look at it (again).
    moved: bool,
    made: u64,
    grace_end: Option<u64>,
    deleted: Option<u64>,
}

#[derive(Clone)]
struct Entry {
    settings: SecretSettings,
    next_rotation: Option<u64>,
    count: u64,
    versions: BTreeMap<u64, Version>,
    pending: Option<Pending>,
}

/// The next version, on its way to a target.
#[derive(Clone)]
struct Pending {
    version: Version,
    nonce: [u8; 24],
    offered: Option<u64>,
}

/// What a reader can find out about one version.
#[derive(PartialEq, Debug)]
struct Seen {
    number: u64,
    made: u64,
    deleted: Option<u64>,
    grace_end: Option<u64>,
    destroyed: bool,
    readable: Option<u64>,
    valid: Option<u64>,
    wrap: Option<Wrap>,
}

/// What a reader can find out about one secret.
#[derive(PartialEq, Debug)]
pub(super) struct View {
    current: u64,
    next_rotation: Option<u64>,
    settings: SecretSettings,
    versions: Vec<Seen>,
    /// The pending value, since when it may be in effect, and its wrapping.
    pending: Option<(u64, Option<u64>, Wrap)>,
}

/// The secrets of [`State`] as a reader sees them.
pub(super) fn view_of(state: &State, name: &SecretName) -> Option<View> {
    let secret = state.secret(name)?;
    let now = state.time();
    let see = |version: &crate::SecretVersion| Seen {
        number: version.number,
        made: version.created_at.0,
        deleted: version.deleted_at.map(|at| at.0),
        grace_end: version.superseded_until.map(|at| at.0),
        destroyed: version.material == Material::Destroyed,
        readable: version.readable(now).map(|sealed| tag_of(sealed)),
        valid: version.valid(now).map(|sealed| tag_of(sealed)),
        wrap: match &version.material {
            Material::Sealed(sealed) => Some(Wrap::of(sealed)),
            Material::Destroyed => None,
        },
    };
    Some(View {
        current: secret.current_version,
        next_rotation: secret.next_rotation_at.map(|at| at.0),
        settings: secret.settings.clone(),
        versions: secret.versions.iter().map(see).collect(),
        pending: secret.pending.as_ref().map(|pending| {
            let sealed = pending.sealed().unwrap();
            assert_eq!(pending.version.number, secret.current_version + 1);
            let since = pending.applying_since.map(|at| at.0);
            (tag_of(sealed), since, Wrap::of(sealed))
        }),
    })
}

#[derive(Default)]
pub(super) struct Model {
    formed: bool,
    now: u64,
    mounts: BTreeMap<String, MountSettings>,
    secrets: BTreeMap<String, Entry>,
    passes: Passes,
}

impl Model {
    pub(super) fn view(&self, name: &SecretName) -> Option<View> {
        let entry = self.secrets.get(name.as_str())?;
        let see = |(number, version): (&u64, &Version)| {
            let hidden = version.deleted.is_some_and(|at| at <= self.now);
            let readable = if hidden { None } else { version.tag };
            let in_grace = version.grace_end.is_none_or(|end| end > self.now);
            let valid = if in_grace { readable } else { None };
            Seen {
                number: *number,
                made: version.made,
                deleted: version.deleted,
                grace_end: version.grace_end,
                destroyed: version.tag.is_none(),
                readable,
                valid,
                wrap: version.tag.map(|_| version.wrap.clone()),
            }
        };
        Some(View {
            current: entry.count,
            next_rotation: entry.next_rotation,
            settings: entry.settings.clone(),
            versions: entry.versions.iter().map(see).collect(),
            pending: entry.pending.as_ref().map(|pending| {
                let version = &pending.version;
                (version.tag.unwrap(), pending.offered, version.wrap.clone())
            }),
        })
    }

    /// Whether the command took effect; `None` if this model does not speak of it.
    pub(super) fn apply(&mut self, time: u64, command: &Command) -> Option<Result<(), Rejection>> {
        self.now = self.now.max(time);
        if !self.formed && !matches!(command, Command::Form { .. }) {
            return Some(Err(Rejection::Formation));
        }
        let outcome = match command {
            Command::Form { .. } if self.formed => Err(Rejection::Formation),
            Command::Form { .. } => {
                self.formed = true;
                self.mounts
                    .insert("secret".into(), MountSettings::default());
                Ok(())
            }
            Command::Tick => {
                for entry in self.secrets.values_mut() {
                    let goes = matches!(
                        entry.settings.kind,
                        Kind::Automatic {
                            keep_superseded: false,
                            ..
                        }
                    );
                    let kept = entry.settings.kind.target().and(entry.count.checked_sub(1));
                    for (number, version) in &mut entry.versions {
                        let goes = goes && Some(*number) != kept;
                        if goes && version.grace_end.is_some_and(|end| end <= self.now) {
                            version.tag = None;
                        }
                    }
                }
                Ok(())
            }
            Command::CreateMount { mount, settings } => {
                if self.mounts.contains_key(mount.as_str()) {
                    Err(Rejection::AlreadyExists)
                } else if mount.as_str().to_lowercase() == "secret" {
                    Err(Rejection::Protected)
                } else {
                    self.set_mount(mount, settings)
                }
            }
            Command::TuneMount { mount, settings } => {
                if settings.max_versions > limits::MAX_VERSIONS {
                    Err(Rejection::Invalid)
                } else if !self.mounts.contains_key(mount.as_str()) {
                    Err(Rejection::NotFound)
                } else {
                    self.set_mount(mount, settings)
                }
            }
            Command::DeleteMount { mount } => match mount.as_str() {
                "secret" => Err(Rejection::Protected),
                name if self.mounts.remove(name).is_none() => Err(Rejection::NotFound),
                name => {
                    let below = format!("{name}/");
                    self.secrets.retain(|key, _| !key.starts_with(&below));
                    Ok(())
                }
            },
            Command::CreateSecret {
                name,
                settings,
                sealed,
            } => self.create(name, settings, sealed.as_ref()),
            Command::PutSecret {
                name,
                cas,
                change,
                version,
                upsert,
            } => {
                let version = version.as_ref().map(|new| (new.number, &new.sealed));
                self.put(name, *cas, change, version, *upsert)
            }
            // Whether access has changed is for the properties to say; the rest is any write.
            Command::PutValue { name, version, .. } => {
                let version = Some((version.number, &version.sealed));
                self.put(name, None, &SettingsChange::default(), version, false)
            }
            Command::DeleteSecret { name } => match self.secrets.remove(name.as_str()) {
                Some(_) => Ok(()),
                None => Err(Rejection::NotFound),
            },
            Command::DeleteVersions { name, versions } => {
                let now = self.now;
                self.each(name, versions, true, |version| {
                    let pending = version.deleted.is_none_or(|at| at > now);
                    if version.tag.is_some() && pending {
                        version.deleted = Some(now);
                    }
                })
            }
            Command::UndeleteVersions { name, versions } => {
                self.each(name, versions, false, |version| {
                    if version.tag.is_some() {
                        version.deleted = None;
                    }
                })
            }
            Command::DestroyVersions { name, versions } => {
                self.each(name, versions, false, |version| version.tag = None)
            }
            Command::AdoptWatermark { watermark } => match &mut self.passes.watermark {
                Some(_) => Err(Rejection::AlreadyExists),
                none => {
                    *none = Some(watermark.clone());
                    Ok(())
                }
            },
            Command::BeginPass { target } => {
                self.begin_pass(target);
                Ok(())
            }
            Command::RewrapVersion {
                name,
                version,
                pass,
                replaces,
                wrapped,
                kms_key_id,
                material_id,
            } => {
                let new = Wrap {
                    dek: wrapped.clone(),
                    key: kms_key_id.clone(),
                    material: material_id.clone(),
                };
                self.rewrap(name, *version, *pass, replaces, new)
            }
            Command::EndPass { id, failed, .. } => self.end_pass(*id, *failed),
            Command::BeginRotation { name, cas, version } => {
                self.begin_rotation(name, *cas, version)
            }
            Command::MarkRotation {
                name,
                nonce,
                applying,
            } => self.mark_rotation(name, nonce, *applying),
            Command::EndRotation { name, nonce } => self.end_rotation(name, nonce),
            Command::BeginRestore { .. }
            | Command::RestorePart { .. }
            | Command::EndRestore { .. }
            | Command::Bootstrap { .. }
            | Command::CreateRole { .. }
            | Command::SetPermissions { .. }
            | Command::SetRules { .. }
            | Command::DeleteRole { .. }
            | Command::CreateToken { .. }
            | Command::RevokeToken { .. }
            | Command::UseToken { .. }
            | Command::RaiseFormat { .. }
            | Command::AdmitNode { .. } => return None,
        };
        Some(outcome)
    }

    fn set_mount(&mut self, mount: &MountName, settings: &MountSettings) -> Result<(), Rejection> {
        if settings.max_versions > limits::MAX_VERSIONS {
            return Err(Rejection::Invalid);
        }
        self.mounts.insert(mount.as_str().into(), *settings);
        Ok(())
    }

    fn each(
        &mut self,
        name: &SecretName,
        numbers: &[u64],
        empty_is_newest: bool,
        change: impl Fn(&mut Version),
    ) -> Result<(), Rejection> {
        let entry = self
            .secrets
            .get_mut(name.as_str())
            .ok_or(Rejection::NotFound)?;
        let newest = entry.count;
        for (number, version) in &mut entry.versions {
            let all_but = numbers.is_empty() && empty_is_newest && *number == newest;
            if all_but || numbers.contains(number) {
                change(version);
            }
        }
        Ok(())
    }

    fn create(
        &mut self,
        name: &SecretName,
        settings: &SecretSettings,
        sealed: Option<&SealedVersion>,
    ) -> Result<(), Rejection> {
        let mount = *self.mounts.get(name.mount()).ok_or(Rejection::NotFound)?;
        if self.secrets.contains_key(name.as_str()) {
            return Err(Rejection::AlreadyExists);
        }
        let mut entry = fresh(settings.clone());
        entry.schedule(self.now);
        if let Some(sealed) = sealed {
            entry.add(self.now, &mount, sealed, self.passes.target.as_ref());
        }
        self.secrets.insert(name.as_str().into(), entry);
        Ok(())
    }

    fn put(
        &mut self,
        name: &SecretName,
        cas: Option<u64>,
        change: &SettingsChange,
        version: Option<(u64, &SealedVersion)>,
        upsert: bool,
    ) -> Result<(), Rejection> {
        let mount = *self.mounts.get(name.mount()).ok_or(Rejection::NotFound)?;
        let mut entry = match self.secrets.get(name.as_str()) {
            Some(entry) => entry.clone(),
            None if upsert => fresh(SecretSettings::manual()),
            None => return Err(Rejection::NotFound),
        };
        let current = entry.count;
        if cas.is_some_and(|cas| cas != current) {
            return Err(Rejection::CasMismatch { current });
        }
        let required = mount.cas_required || entry.settings.cas_required;
        if cas.is_none() && required && version.is_some() {
            return Err(Rejection::CasRequired);
        }
        let target_was = entry.settings.kind.target().cloned();
        entry.settings = change
            .applied_to(&entry.settings)
            .ok_or(Rejection::Invalid)?;
        if !entry.settings.within_limits() {
            return Err(Rejection::Invalid);
        }
        if version.is_some_and(|(number, _)| number != current + 1) {
            return Err(Rejection::VersionTaken { current });
        }
        if version.is_some() || entry.settings.kind.target() != target_was.as_ref() {
            entry.give_up(self.now, version.is_some())?;
        }
        entry.schedule(self.now);
        if let Some((_, sealed)) = version {
            entry.add(self.now, &mount, sealed, self.passes.target.as_ref());
        }
        entry.trim(&mount);
        self.secrets.insert(name.as_str().into(), entry);
        Ok(())
    }
}
