//! Every route, once: the router is made of this table, and the caller-by-route test walks it.

use std::sync::Arc;

use axum::routing::{MethodFilter, MethodRouter};

use super::{
    App, backup,
    call::{endpoint, streaming},
    carried::{Pool, Run},
    cluster, openapi, operate, rewrap, roles, secrets, tokens,
};

/// Who may call a route.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Who {
    /// Anybody.
    Anybody,
    /// Allowlisted addresses.
    Reader,
    /// The holder of a token whose role grants the action, or any token where the answer is filtered.
    Role,
    /// The holder of a token with an admin role.
    Admin,
}

/// A route with its handler.
pub struct Route {
    /// The HTTP method.
    pub method: &'static str,
    /// The path, as axum writes it.
    pub path: &'static str,
    /// Who may call it.
    pub who: Who,
    pub(super) handler: MethodRouter<Arc<App>>,
}

macro_rules! routes {
    ($($method:ident $path:literal $who:ident $handler:path $(, $how:ident)?;)*) => {
        vec![$(Route {
            method: stringify!($method),
            path: $path,
            who: Who::$who,
            handler: routes!(@handler $method $path $handler $(, $how)?),
        }),*]
    };
    (@handler $method:ident $path:literal $handler:path, stream) => {
        streaming(MethodFilter::$method, $path, $handler)
    };
    (@handler $method:ident $path:literal $handler:path $(, $how:ident)?) => {
        endpoint(MethodFilter::$method, $path, $handler, routes!(@how $($how)?))
    };
    (@how) => { Run::ToItsEnd(Pool::Others) };
    (@how read) => { Run::ToItsEnd(Pool::Reads) };
    (@how attached) => { Run::Attached };
}

pub(super) fn table() -> Vec<Route> {
    routes! {
        GET    "/healthz"                      Anybody operate::healthz, attached;
        GET    "/readyz"                       Anybody operate::readyz, attached;
        GET    "/metrics"                      Anybody operate::metrics, attached;
        GET    "/v1/openapi.json"              Anybody openapi::show, attached;
        POST   "/v1/secrets"                   Role    secrets::create;
        GET    "/v1/secrets"                   Role    secrets::list;
        GET    "/v1/secrets/{*name}"           Reader  secrets::read, attached;
        PUT    "/v1/secrets/{*name}"           Role    secrets::update;
        DELETE "/v1/secrets/{*name}"           Role    secrets::delete;
        POST   "/v1/secrets/{*name}"           Role    secrets::post, attached;
        POST   "/v1/batch/secrets"             Reader  secrets::batch, read;
        POST   "/v1/roles"                     Admin   roles::create;
        GET    "/v1/roles"                     Admin   roles::list;
        GET    "/v1/roles/{name}"              Admin   roles::read;
        PUT    "/v1/roles/{name}/permissions"  Admin   roles::set_permissions;
        DELETE "/v1/roles/{name}"              Admin   roles::delete;
        POST   "/v1/tokens"                    Admin   tokens::create;
        GET    "/v1/tokens"                    Admin   tokens::list;
        DELETE "/v1/tokens/{name}"             Admin   tokens::revoke;
        GET    "/v1/admin/cluster"             Admin   cluster::view;
        POST   "/v1/admin/cluster/handover"    Admin   cluster::hand_over;
        POST   "/v1/admin/cluster/nodes"       Admin   cluster::add_node;
        DELETE "/v1/admin/cluster/nodes/{name}" Admin  cluster::remove_node;
        GET    "/v1/admin/kms"                 Admin   operate::kms;
        POST   "/v1/admin/kms/rewrap"          Admin   rewrap::begin;
        GET    "/v1/admin/kms/rewrap/status"   Admin   rewrap::status;
        GET    "/v1/audit"                     Admin   operate::audit;
        GET    "/v1/backup"                    Admin   backup::take;
        POST   "/v1/restore"                   Admin   backup::restore, stream;
    }
}

/// What `POST /v1/secrets/{*name}` does by the path's last segment: a router cannot tell them apart,
/// since a name has many segments.
const POST_VERBS: [(&str, Who); 2] = [
    ("/v1/secrets/{*name}/rotate", Who::Role),
    ("/v1/secrets/{*name}/verify", Who::Reader),
];

/// Every route with who may call it.
#[must_use]
pub fn route_list() -> Vec<(&'static str, &'static str, Who)> {
    let by_verb = |route: &Route| route.method == "POST" && route.path == "/v1/secrets/{*name}";
    table()
        .into_iter()
        .filter(|route| !by_verb(route))
        .map(|route| (route.method, route.path, route.who))
        .chain(POST_VERBS.map(|(path, who)| ("POST", path, who)))
        .collect()
}
