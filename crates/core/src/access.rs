//! Who may do what: capabilities over paths, one model for a native role and for a Vault policy.
//!
//! A [`Rule`] speaks of canonical access paths, `mount/resource/path`, as Vault's policies do. A
//! native [`Permission`] (an action on a glob of names in the mount `secret`) is another spelling of
//! the same and is turned into rules before it decides anything. Deny wins over every allow.

use serde::{Deserialize, Serialize};

use crate::{
    SecretName, limits,
    name::{DEFAULT_MOUNT, NameError},
};

/// What a rule can allow on an access path.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Capability {
    /// Make something that is not there yet.
    Create,
    /// See a value or a description.
    Read,
    /// Change what is there.
    Update,
    /// Change part of what is there.
    Patch,
    /// Take away.
    Delete,
    /// Enumerate names.
    List,
    /// Have a new value generated.
    Rotate,
}

#[cfg(test)]
impl Capability {
    const ALL: [Self; 7] = [
        Self::Create,
        Self::Read,
        Self::Update,
        Self::Patch,
        Self::Delete,
        Self::List,
        Self::Rotate,
    ];
}

/// The part of a secret that an access touches; the second segment of an access path.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Resource {
    /// Values.
    Data,
    /// Everything about a secret but its values, and the secret as a whole.
    Metadata,
    /// Soft deletion of versions.
    Delete,
    /// Taking back a soft deletion.
    Undelete,
    /// Destroying the material of versions.
    Destroy,
}

impl Resource {
    const ALL: [Self; 5] = [
        Self::Data,
        Self::Metadata,
        Self::Delete,
        Self::Undelete,
        Self::Destroy,
    ];

    /// The segment in an access path.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Metadata => "metadata",
            Self::Delete => "delete",
            Self::Undelete => "undelete",
            Self::Destroy => "destroy",
        }
    }
}

/// One access that somebody wants: a capability on a part of a secret.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Access {
    /// What is wanted.
    pub capability: Capability,
    /// On which part.
    pub resource: Resource,
}

/// The native API's actions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Create a secret.
    Create,
    /// Change a secret's value or settings.
    Update,
    /// Delete a secret with all its versions.
    Delete,
    /// Rotate an automatic secret.
    Rotate,
    /// Read a value.
    Read,
    /// List names and descriptions.
    List,
    /// All of these.
    #[serde(rename = "*")]
    Any,
}

impl Action {
    const SINGLE: [Self; 6] = [
        Self::Create,
        Self::Update,
        Self::Delete,
        Self::Rotate,
        Self::Read,
        Self::List,
    ];

    /// The access that this action is. [`Action::Any`] has none of its own.
    #[must_use]
    pub fn access(self) -> Option<Access> {
        let (capability, resource) = match self {
            Self::Create => (Capability::Create, Resource::Data),
            Self::Update => (Capability::Update, Resource::Data),
            Self::Delete => (Capability::Delete, Resource::Metadata),
            Self::Rotate => (Capability::Rotate, Resource::Data),
            Self::Read => (Capability::Read, Resource::Data),
            Self::List => (Capability::List, Resource::Metadata),
            Self::Any => return None,
        };
        Some(Access {
            capability,
            resource,
        })
    }
}

/// An exact path, a prefix (written with a final `*`), or everything (`*`).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PathPattern(String);

impl PathPattern {
    /// Parses a pattern. Dots, empty segments and stars anywhere but at the end are refused, so that
    /// a pattern means just what its text says.
    ///
    /// # Errors
    /// What [`NameError`] says of the text before the star.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let body = text.strip_suffix('*').unwrap_or(text);
        if text.len() > limits::PATTERN_BYTES {
            return Err(NameError::TooLong);
        }
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        let prefix = body.len() < text.len();
        let mut segments = body.split('/').peekable();
        while let Some(segment) = segments.next() {
            let cut_short = prefix && segments.peek().is_none();
            match segment {
                "" if cut_short => {}
                "." | ".." if cut_short => {}
                _ => crate::name::SecretName::in_mount(DEFAULT_MOUNT, segment).map(|_| ())?,
            }
        }
        Ok(Self(text.to_owned()))
    }

    /// The pattern as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `path` is covered.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(prefix) => path.starts_with(prefix),
            None => self.0 == path,
        }
    }

    /// Whether the path made of `parts` joined by `/` is covered, without joining them.
    fn matches_parts(&self, parts: [&str; 3]) -> bool {
        let (wanted, prefix) = match self.0.strip_suffix('*') {
            Some(prefix) => (prefix, true),
            None => (self.0.as_str(), false),
        };
        let [mount, resource, path] = parts;
        let mut rest = wanted;
        for piece in [mount, "/", resource, "/", path] {
            match rest.strip_prefix(piece) {
                Some(after) => rest = after,
                // The pattern ends inside this piece: covered if it is a prefix.
                None => return prefix && piece.starts_with(rest),
            }
        }
        rest.is_empty()
    }
}

impl TryFrom<String> for PathPattern {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        Self::parse(&text)
    }
}

impl From<PathPattern> for String {
    fn from(pattern: PathPattern) -> Self {
        pattern.0
    }
}

/// A native permission: an action on the names that a pattern covers, in the mount `secret`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Permission {
    /// What may be done.
    pub action: Action,
    /// To which secrets.
    pub path: PathPattern,
}

/// Capabilities on the access paths that a pattern covers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Rule {
    /// Access paths: `secret/data/app/*`.
    pub path: PathPattern,
    /// What is allowed there.
    pub capabilities: Vec<Capability>,
    /// Whether the rule forbids everything there, whatever any other rule allows.
    pub deny: bool,
}

impl Rule {
    fn covers(&self, resource: Resource, name: &SecretName) -> bool {
        self.path
            .matches_parts([name.mount(), resource.as_str(), name.path()])
    }
}

/// A named set of permissions and rules.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Role {
    /// What people wrote about it.
    pub description: String,
    /// Whether it may do everything, roles, tokens and the cluster included.
    pub is_admin: bool,
    /// The native spelling.
    pub permissions: Vec<Permission>,
    /// The Vault spelling.
    pub rules: Vec<Rule>,
}

impl Role {
    /// The role `admin`.
    #[must_use]
    pub fn admin() -> Self {
        Self {
            description: "May do everything".to_owned(),
            is_admin: true,
            permissions: Vec::new(),
            rules: Vec::new(),
        }
    }

    /// Whether the role may have `access` to the secret `name`.
    #[must_use]
    pub fn allows(&self, access: Access, name: &SecretName) -> bool {
        if self.is_admin {
            return true;
        }
        let covering = || {
            self.rules
                .iter()
                .filter(|rule| rule.covers(access.resource, name))
        };
        if covering().any(|rule| rule.deny) {
            return false;
        }
        let native = self.permissions.iter().any(|permission| {
            name.mount() == DEFAULT_MOUNT
                && permission.path.matches(name.path())
                && (permission.action == Action::Any || permission.action.access() == Some(access))
        });
        native || covering().any(|rule| rule.capabilities.contains(&access.capability))
    }

    /// Whether the role may do `action` to the secret `name`.
    #[must_use]
    pub fn may(&self, action: Action, name: &SecretName) -> bool {
        match action.access() {
            Some(access) => self.allows(access, name),
            None => Action::SINGLE
                .into_iter()
                .all(|single| self.may(single, name)),
        }
    }

    /// Whether the role may do anything at all to the secret `name`: what a list shows it. One look
    /// at each permission and rule, since a list asks for every secret.
    #[must_use]
    pub fn may_act_on(&self, name: &SecretName) -> bool {
        if self.is_admin {
            return true;
        }
        let native: Vec<Action> = match name.mount() == DEFAULT_MOUNT {
            true => self
                .permissions
                .iter()
                .filter(|permission| permission.path.matches(name.path()))
                .map(|permission| permission.action)
                .collect(),
            false => Vec::new(),
        };
        if self.rules.is_empty() {
            return !native.is_empty();
        }
        Resource::ALL.into_iter().any(|resource| {
            let covering = || self.rules.iter().filter(|rule| rule.covers(resource, name));
            let by_native = |action: &Action| {
                *action == Action::Any
                    || action
                        .access()
                        .is_some_and(|access| access.resource == resource)
            };
            !covering().any(|rule| rule.deny)
                && (native.iter().any(by_native)
                    || covering().any(|rule| !rule.capabilities.is_empty()))
        })
    }
}

#[cfg(test)]
#[path = "access_tests.rs"]
mod tests;
