//! Every limit in one place. A request over a limit is refused by a typed rejection or a 4xx, never
//! by running out of something.

/// Largest payload of one version, in bytes of its JSON text.
pub const PAYLOAD_BYTES: usize = 512 * 1024;
/// Largest ciphertext accepted: the payload and the 16-byte Poly1305 tag.
pub const CIPHERTEXT_BYTES: usize = PAYLOAD_BYTES + 16;
/// Largest wrapped data key. AWS KMS answers with less than 400 bytes; its documented bound is 6,144.
pub const WRAPPED_DEK_BYTES: usize = 6_144;
/// Largest KMS key identifier, in bytes (AWS documents 2,048).
pub const KMS_KEY_ID_BYTES: usize = 2_048;
/// Largest path of a secret inside its mount, in bytes.
pub const SECRET_PATH_BYTES: usize = 512;
/// Largest pattern over access paths, in bytes: `mount/resource/path` and a star.
pub const PATTERN_BYTES: usize = MOUNT_NAME_BYTES + SECRET_PATH_BYTES + 16;
/// Largest mount name, in bytes.
pub const MOUNT_NAME_BYTES: usize = 64;
/// Largest name of a role, token or node, in bytes.
pub const LABEL_BYTES: usize = 128;
/// Largest description of a secret or role, in bytes.
pub const DESCRIPTION_BYTES: usize = 1_024;
/// Versions kept of a secret that does not say otherwise.
pub const DEFAULT_MAX_VERSIONS: u32 = 10;
/// Most versions a secret may keep.
pub const MAX_VERSIONS: u32 = 1_000;
/// Custom metadata pairs per secret.
pub const CUSTOM_METADATA_PAIRS: usize = 64;
/// Largest custom metadata key, in bytes.
pub const CUSTOM_METADATA_KEY_BYTES: usize = 128;
/// Largest custom metadata value, in bytes.
pub const CUSTOM_METADATA_VALUE_BYTES: usize = 512;
/// Versions named in one delete, undelete or destroy.
pub const VERSIONS_PER_COMMAND: usize = 1_000;
/// Names in one batch read.
pub const BATCH_NAMES: usize = 256;
/// Bytes of values in one batch read: 256 of the largest would be 128 MiB for a request of 2 KiB.
pub const BATCH_BYTES: usize = 16 * 1024 * 1024;
/// Rows in one page of a list.
pub const PAGE_ROWS: usize = 1_000;
/// Permissions (or rules) of one role.
pub const ROLE_RULES: usize = 1_000;
/// Capabilities one rule lists: there are seven, each listed once.
pub const RULE_CAPABILITIES: usize = 7;
/// CIDRs a token may be bound to.
pub const BOUND_CIDRS: usize = 64;
/// Longest grace period and rotation interval, in seconds: ten years. Larger numbers are refused
/// rather than wrapped.
pub const MAX_PERIOD_SECS: u64 = 10 * 366 * 86_400;
/// Shortest rotation interval, in seconds.
pub const MIN_ROTATION_SECS: u64 = 1;
/// How long a rotation that may be in effect at its target keeps others from replacing the value, in
/// seconds: far longer than a target lets an attempt live.
pub const UNSETTLED_SECS: u64 = 30;
/// Longest time to live of a token, in seconds.
pub const MAX_TOKEN_TTL_SECS: u64 = MAX_PERIOD_SECS;
/// Longest generated value, in characters.
pub const GENERATED_CHARS: u32 = 4_096;
/// Largest request body on the API, in bytes.
pub const BODY_BYTES: usize = 1024 * 1024;
/// Longest wait for a newer version, in seconds.
pub const WAIT_SECS: u64 = 300;
/// Deepest nesting of JSON in a request.
pub const JSON_DEPTH: usize = 32;
/// Commands replicated in one Raft entry.
pub const PROPOSAL_COMMANDS: usize = 512;
/// Bytes of commands replicated in one Raft entry, unless a single command is larger.
pub const PROPOSAL_BYTES: usize = 256 * 1024;
/// Outcomes of requests that are kept, so that a request that is tried again is not done again.
pub const OUTCOMES: usize = 16_384;
/// Bytes of outcomes that are kept, roughly.
pub const OUTCOME_BYTES: usize = 8 * 1024 * 1024;
/// Longest key that a client names a request by, in bytes.
pub const IDEMPOTENCY_KEY_BYTES: usize = 256;
/// Bytes of a backup in one command of a restore.
pub const RESTORE_PART_BYTES: usize = 192 * 1024;
/// Largest backup that can be restored, in bytes: it is held in memory beside the state.
pub const RESTORE_BYTES: u64 = 1024 * 1024 * 1024;
/// How long a restore of which nothing more comes is kept, in seconds.
pub const RESTORE_PAUSE_SECS: u64 = 60;
/// Deadlines handled by one `Tick`; what remains is handled by the next.
pub const TICK_DEADLINES: usize = 1_000;
/// Nodes a cluster may list in `VAULT_PEERS`, and members that it may have.
pub const PEERS: usize = 15;
/// Names of nodes that something was decided about by command.
pub const DECIDED_NODES: usize = 1_000;
