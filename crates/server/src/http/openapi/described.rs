//! What each route takes and gives, beside who may call it.

type Content = Option<(&'static str, &'static str)>;

/// A route in words and names of schemas.
pub(super) struct Described {
    pub(super) id: &'static str,
    pub(super) summary: &'static str,
    /// Names of parameters in the query.
    pub(super) query: &'static [&'static str],
    /// Whether it must be there, its type, and its schema.
    pub(super) body: Option<(bool, &'static str, &'static str)>,
    /// What it is for: status, type with schema, and what it means.
    pub(super) answers: &'static [(u16, Content, &'static str)],
    /// Errors of its own.
    pub(super) statuses: &'static [u16],
}

const JSON: &str = "application/json";
const METRICS: &str = "application/openmetrics-text";
const BYTES: &str = "application/octet-stream";
const LIST: &[&str] = &["prefix", "after", "limit"];

macro_rules! described {
    ($($method:literal $path:literal $id:ident $summary:literal
        $([$query:expr])? $(<$must:ident $body:literal $(as $kind:ident)?>)?
        $($status:literal $($schema:literal $(as $type:ident)?)?),+ ; $($error:literal)*;)*) => {
        /// What is known of a route.
        pub(super) fn described(method: &str, path: &str) -> Option<Described> {
            Some(match (method, path) {
                $(($method, $path) => Described {
                    id: stringify!($id),
                    summary: $summary,
                    query: described!(@query $($query)?),
                    body: described!(@body $($must $body $($kind)?)?),
                    answers: &[$(($status, described!(@answer $($schema $($type)?)?), $summary)),+],
                    statuses: &[$($error),*],
                },)*
                _ => return None,
            })
        }
    };
    (@query) => { &[] };
    (@query $query:expr) => { $query };
    (@body) => { None };
    (@body must $body:literal) => { Some((true, JSON, $body)) };
    (@body may $body:literal) => { Some((false, JSON, $body)) };
    (@body must $body:literal $kind:ident) => { Some((true, $kind, $body)) };
    (@answer) => { None };
    (@answer $schema:literal) => { Some((JSON, $schema)) };
    (@answer $schema:literal $type:ident) => { Some(($type, $schema)) };
}

const TEXT: &str = "text/plain";

described! {
    "GET" "/healthz" healthz "Whether the process answers" 200 "" as TEXT; ;
    "GET" "/readyz" readyz "Whether the node does its whole job" 200 "Ready", 503 "NotReady"; ;
    "GET" "/metrics" metrics "What Prometheus reads" 200 "" as METRICS; ;
    "GET" "/v1/openapi.json" openapi "This document" 200 "Document"; ;
    "POST" "/v1/secrets" createSecret "Make a secret" <must "CreateSecret"> 201 "Written"; 404 409;
    "GET" "/v1/secrets" listSecrets "Secrets that the role may do something to" [LIST] 200 "Secrets"; ;
    "GET" "/v1/secrets/{name}" readSecret "The value of a secret"
        [&["version", "wait", "after_version"]] 200 "Value", 304; ;
    "PUT" "/v1/secrets/{name}" updateSecret "Change the value or settings of a secret"
        <must "UpdateSecret"> 200 "Secret"; 404 409;
    "DELETE" "/v1/secrets/{name}" deleteSecret "Delete a secret with all its versions" 204; 404 409;
    "POST" "/v1/secrets/{name}/rotate" rotateSecret "Rotate an automatic secret now"
        <may "Nothing"> 200 "Written"; 404 409;
    "POST" "/v1/secrets/{name}/verify" verifySecret "Whether a value is a current one"
        <must "Verify"> 200 "Verified"; ;
    "POST" "/v1/batch/secrets" readSecrets "The values of several secrets" <must "Names"> 200 "Values"; ;
    "POST" "/v1/roles" createRole "Make a role" <must "CreateRole"> 201 "Role"; 409;
    "GET" "/v1/roles" listRoles "All roles" [LIST] 200 "Roles"; ;
    "GET" "/v1/roles/{name}" readRole "A role" 200 "Role"; 404;
    "PUT" "/v1/roles/{name}/permissions" setPermissions "Replace what a role may do"
        <must "Permissions"> 200 "Role"; 404;
    "DELETE" "/v1/roles/{name}" deleteRole "Delete a role" 204; 404 409;
    "POST" "/v1/tokens" createToken "Make a token, which is shown once" <must "CreateToken"> 201 "Token"; 404 409;
    "GET" "/v1/tokens" listTokens "All tokens" [LIST] 200 "Tokens"; ;
    "DELETE" "/v1/tokens/{name}" revokeToken "Revoke a token" 204; 404;
    "GET" "/v1/admin/cluster" viewCluster "The cluster as this node sees it" 200 "Cluster"; ;
    "POST" "/v1/admin/cluster/handover" handOver "Pass the lead on" <may "HandOver"> 200 "Leader"; 404;
    "POST" "/v1/admin/cluster/nodes" addNode "Let nodes of a name in" <must "AddNode"> 202 "AddedNode"; 409;
    "DELETE" "/v1/admin/cluster/nodes/{name}" removeNode "Remove the nodes of a name" 204; 404 409;
    "GET" "/v1/admin/kms" viewKms "The key service and the cache of data keys" 200 "Kms"; ;
    "POST" "/v1/admin/kms/rewrap" beginRewrap "Begin to move all data keys onto the KMS key"
        <may "Nothing"> 202 "Begun"; 409;
    "GET" "/v1/admin/kms/rewrap/status" rewrapStatus "How far that is" 200 "Rewrap"; ;
    "GET" "/v1/audit" readAudit "This node's audit records" [&["after_number", "limit"]] 200 "Records"; ;
    "GET" "/v1/backup" takeBackup "Everything that is replicated, sealed as it is" 200 "" as BYTES; ;
    "POST" "/v1/restore" restore "Replace everything by what a backup holds"
        [&["force"]] <must "" as BYTES> 200 "Restored"; 409;
}
