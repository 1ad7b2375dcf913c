//! Secrets by name: found with few places of memory to look at, and listed in order.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    ops::RangeBounds,
    sync::Arc,
};

use imbl::{OrdMap, OrdSet, ordmap::DiffItem};

use super::Secret;
use crate::SecretName;

/// The secrets of a state. Persistent as the maps that it is made of: a clone shares what it holds.
///
/// A search in order of name has to look at another name at each step, of which there are some seventeen
/// among a hundred thousand secrets, each somewhere else in memory. So a secret is found in order of its
/// name's hash, which stands in the tree itself, and one name is looked at, at the end, mostly. The order of names
/// is kept beside it, for lists; what changes a secret leaves it alone.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct SecretMap {
    found: OrdMap<Place, Arc<Secret>>,
    /// The names of `found`, once each, and the same allocations.
    names: OrdSet<SecretName>,
}

/// Where a secret is found. Names of one hash have places of their own, so that nobody gains by choosing
/// names whose hashes are equal.
///
/// The hash may be another in another build: it is never written, sent or shown, and no order that can be
/// seen depends on it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Place {
    hash: u64,
    name: SecretName,
}

impl Place {
    fn of(name: &SecretName) -> Self {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        Self {
            hash: hasher.finish(),
            name: name.clone(),
        }
    }
}

impl SecretMap {
    pub(crate) fn get(&self, name: &SecretName) -> Option<&Arc<Secret>> {
        self.found.get(&Place::of(name))
    }

    pub(crate) fn get_mut(&mut self, name: &SecretName) -> Option<&mut Arc<Secret>> {
        self.found.get_mut(&Place::of(name))
    }

    pub(crate) fn contains(&self, name: &SecretName) -> bool {
        self.get(name).is_some()
    }

    /// Returns what was there under this name.
    pub(crate) fn insert(&mut self, name: SecretName, secret: Arc<Secret>) -> Option<Arc<Secret>> {
        // The name that is there stays: the map would take the new one, which is a second allocation for
        // as long as the secret lives.
        if let Some(there) = self.get_mut(&name) {
            return Some(std::mem::replace(there, secret));
        }
        self.found.insert(Place::of(&name), secret);
        self.names.insert(name);
        None
    }

    pub(crate) fn remove(&mut self, name: &SecretName) -> Option<Arc<Secret>> {
        self.names.remove(name);
        self.found.remove(&Place::of(name))
    }

    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// All, in order of name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&SecretName, &Arc<Secret>)> {
        self.range(..)
    }

    /// Those whose names are in a range, in order of name.
    pub(crate) fn range(
        &self,
        range: impl RangeBounds<SecretName>,
    ) -> impl Iterator<Item = (&SecretName, &Arc<Secret>)> {
        debug_assert_eq!(self.names.len(), self.found.len());
        let names = self.names_in(range);
        names.filter_map(|name| self.get(name).map(|secret| (name, secret)))
    }

    /// The same without the secrets, which it need not look for.
    pub(crate) fn names_in(
        &self,
        range: impl RangeBounds<SecretName>,
    ) -> impl Iterator<Item = &SecretName> {
        self.names.range(range)
    }

    /// The names whose secrets are not the same in `newer`, those that are in one of the two alone
    /// included; in no order. Costs as much as there are differences.
    pub(crate) fn changed<'a>(&'a self, newer: &'a Self) -> impl Iterator<Item = &'a SecretName> {
        self.found.diff(&newer.found).map(|item| match item {
            DiffItem::Add(place, _) | DiffItem::Remove(place, _) => &place.name,
            DiffItem::Update { new, .. } => &new.0.name,
        })
    }
}

impl FromIterator<(SecretName, Arc<Secret>)> for SecretMap {
    fn from_iter<I: IntoIterator<Item = (SecretName, Arc<Secret>)>>(secrets: I) -> Self {
        let mut map = Self::default();
        for (name, secret) in secrets {
            map.insert(name, secret);
        }
        map
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, ops::Bound};

    use proptest::prelude::*;

    use super::*;
    use crate::{LogTime, SecretSettings};

    #[derive(Clone, Debug)]
    enum Step {
        Put(u8),
        Take(u8),
        Change(u8),
    }

    fn name(n: u8) -> SecretName {
        SecretName::parse(&format!("secret/{n}")).unwrap()
    }

    fn secret(current_version: u64) -> Arc<Secret> {
        Arc::new(Secret {
            settings: SecretSettings::manual(),
            created_at: LogTime::default(),
            updated_at: LogTime::default(),
            next_rotation_at: None,
            current_version,
            versions: Vec::new(),
            pending: None,
        })
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            any::<u8>().prop_map(Step::Put),
            any::<u8>().prop_map(Step::Take),
            any::<u8>().prop_map(Step::Change),
        ]
    }

    /// Does the same to both, and says whether they answered the same.
    fn take(
        step: &Step,
        map: &mut SecretMap,
        model: &mut BTreeMap<SecretName, Arc<Secret>>,
        at: u64,
    ) -> bool {
        match step {
            Step::Put(n) => map.insert(name(*n), secret(at)) == model.insert(name(*n), secret(at)),
            Step::Take(n) => map.remove(&name(*n)) == model.remove(&name(*n)),
            Step::Change(n) => match (map.get_mut(&name(*n)), model.get_mut(&name(*n))) {
                (Some(here), Some(there)) => {
                    (*here, *there) = (secret(at), secret(at));
                    true
                }
                (here, there) => here.is_none() && there.is_none(),
            },
        }
    }

    proptest! {
        #[test]
        fn it_is_an_ordered_map(before in proptest::collection::vec(step(), 0..300),
                                after in proptest::collection::vec(step(), 0..60),
                                first: u8) {
            let (mut map, mut model) = (SecretMap::default(), BTreeMap::new());
            for (step, at) in before.iter().zip(0..) {
                prop_assert!(take(step, &mut map, &mut model, at));
            }
            let (older, older_model) = (map.clone(), model.clone());
            for (step, at) in after.iter().zip(1_000..) {
                prop_assert!(take(step, &mut map, &mut model, at));
            }
            prop_assert_eq!((map.len(), map.is_empty()), (model.len(), model.is_empty()));
            prop_assert!(map.iter().eq(model.iter()));
            prop_assert!(map.range(name(first)..).eq(model.range(name(first)..)));
            let beyond = (Bound::Excluded(name(first)), Bound::Unbounded);
            prop_assert!(map.range(beyond.clone()).eq(model.range(beyond.clone())));
            prop_assert!(map.names_in(beyond.clone()).eq(model.range(beyond).map(|(name, _)| name)));
            let twice = map.names.iter().filter(|name| {
                let (place, _) = map.found.get_key_value(&Place::of(name)).unwrap();
                !std::ptr::eq(place.name.as_str(), name.as_str())
            });
            prop_assert_eq!(twice.count(), 0, "a name has one allocation");
            for n in 0..=u8::MAX {
                prop_assert_eq!(map.get(&name(n)), model.get(&name(n)));
                prop_assert_eq!(map.contains(&name(n)), model.contains_key(&name(n)));
            }
            // A clone is not changed by what comes after it, and the difference is told.
            prop_assert!(older.iter().eq(older_model.iter()));
            let mut changed: Vec<_> = older.changed(&map).cloned().collect();
            changed.sort();
            let differs = |n: &u8| older_model.get(&name(*n)) != model.get(&name(*n));
            let mut expected: Vec<_> = (0..=u8::MAX).filter(differs).map(name).collect();
            expected.sort();
            prop_assert_eq!(changed, expected);
            let again: SecretMap = model.into_iter().collect();
            prop_assert_eq!(again, map);
        }
    }

    #[test]
    fn names_of_one_hash_are_told_apart() {
        let mut found = OrdMap::new();
        let place = |n| Place {
            hash: 7,
            name: name(n),
        };
        for n in 0..100 {
            found.insert(place(n), n);
        }
        assert!((0..100).all(|n| found.get(&place(n)) == Some(&n)));
        assert_eq!(found.get(&place(100)), None);
    }
}
