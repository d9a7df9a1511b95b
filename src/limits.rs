//! Every bound in the system, with its unit and its reason. A section for each module.

// --- committee ---

/// Replicas, at most. A set of replicas is one machine word; protocols with n² messages are not meant for more.
pub const MAX_REPLICAS: usize = 64;

// --- names and records (RFC 1035 §2.3.4; reliability D9) ---

/// Bytes in a name on the wire (RFC 1035 §2.3.4).
pub const MAX_NAME: usize = 255;
/// Bytes in a label (RFC 1035 §2.3.4).
pub const MAX_LABEL: usize = 63;
/// Records in one RRset. More make an answer that no UDP client can use (CVE-2024-1737).
pub const MAX_RECORDS_PER_RRSET: usize = 100;
/// RRsets under one title, over all its names.
pub const MAX_RRSETS_PER_TITLE: usize = 256;
/// Bytes of one record's RDATA: a message holds 65,535 bytes; leave room for header, owner, signature.
pub const MAX_RDATA: usize = 16 * 1024;
/// Bytes of all RDATA under one title.
pub const MAX_TITLE_BYTES: usize = 64 * 1024;
/// Seconds a record may be cached: a week, so that a transfer is seen everywhere within that time.
pub const MAX_TTL: u32 = 7 * 24 * 3600;

// --- operations ---

/// Bytes of one encoded signed operation: a title's whole allowance fits in, with its envelope.
pub const MAX_OPERATION: usize = 72 * 1024;
/// Milliseconds that an operation's validity may reach beyond agreed time: how long outcomes must be kept to know a
/// replay.
pub const MAX_OPERATION_VALIDITY_MS: u64 = 3_600_000;
/// subjectAltName entries in one certificate.
pub const MAX_SANS: usize = 32;
/// Bytes of a SubjectPublicKeyInfo: RSA-8192 fits.
pub const MAX_SPKI: usize = 1200;
/// Live certificates kept with one title.
pub const MAX_CERTIFICATES_PER_TITLE: usize = 64;

// --- order ---

/// Bytes of one block's payload: a few round trips' worth at gigabit speed; larger ones delay everybody's round.
pub const MAX_PAYLOAD: usize = 1024 * 1024;

// --- crypto ---

// --- signing ---

// --- ca ---

// --- store ---

// --- peer ---

// --- dns ---

// --- http ---

// --- client ---
