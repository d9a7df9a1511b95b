//! Every bound in the system, with its unit and its reason. A section for each module.

// --- committee ---

/// Replicas, at most. A set of replicas is one machine word; protocols with n² messages are not meant for more.
pub const MAX_REPLICAS: usize = 64;
/// Maximal sets that may fail together: asked at every quorum, and their triples at a start. 16 replicas of which any
/// four may fail have 1,820; those are a threshold.
pub const MAX_FAIL_PRONE_SETS: usize = 1024;
/// Unions of classes looked at to find the maximal sets.
pub const MAX_FAIL_PRONE_UNIONS: usize = 16_384;
/// Shares that one secret is dealt in, over all replicas: verified one by one where a batch fails.
pub const MAX_SHARING_ROWS: usize = 256;
/// Shares of one secret at one replica: what each of its blocks carries of a coin.
pub const MAX_SHARES_PER_REPLICA: usize = 32;
/// Weight of one replica, which is how many shares it has.
pub const MAX_WEIGHT: usize = MAX_SHARES_PER_REPLICA;
/// Steps of the search for a schedule that stops the order: some seconds, once for each structure that is loaded.
pub const MAX_CORE_STEPS: u64 = 4_000_000;
/// Bytes of a structure as it is written.
pub const MAX_STRUCTURE_TEXT: usize = 8 * 1024;

// --- names and records (RFC 1035 §2.3.4; reliability D9) ---

/// Bytes in a name on the wire (RFC 1035 §2.3.4).
pub const MAX_NAME: usize = 255;
/// Bytes in a label (RFC 1035 §2.3.4).
pub const MAX_LABEL: usize = 63;
/// Records in one RRset. More make an answer that no UDP client can use (CVE-2024-1737).
pub const MAX_RECORDS_PER_RRSET: usize = 100;
/// Types at one name: answers to ANY, and the walk through a name's types, stay short (CVE-2024-1737).
pub const MAX_TYPES_PER_NAME: usize = 100;
/// RRsets under one title, over all its names. The glue beneath `net.` in the root zone takes 337.
pub const MAX_RRSETS_PER_TITLE: usize = 512;
/// Bytes of one record's RDATA: a message holds 65,535 bytes; leave room for header, owner, signature.
pub const MAX_RDATA: usize = 16 * 1024;
/// Bytes on the wire of all records at one name, owner names compressed: with their signatures and a question, they
/// fit in one message of 65,535 bytes.
pub const MAX_NAME_RECORDS_BYTES: usize = 48 * 1024;
/// Bytes of all RDATA under one title, and of the owner name of each RRset.
pub const MAX_TITLE_BYTES: usize = 64 * 1024;
/// Seconds a record may be cached: a week, so that a transfer is seen everywhere within that time.
pub const MAX_TTL: u32 = 7 * 24 * 3600;

// --- master files (RFC 1035 §5) ---

/// $INCLUDE inside $INCLUDE, at most: deeper ones are loops.
pub const MAX_INCLUDE_DEPTH: usize = 8;
/// Files read for one zone: bounds what nested includes multiply to.
pub const MAX_INCLUDED_FILES: usize = 1024;
/// Records in one zone's file, signatures among them: a million names with theirs, and some more.
pub const MAX_ZONE_RECORDS: usize = 8_000_000;
/// Tokens in one entry of a master file: a parenthesis left open ends here.
pub const MAX_ENTRY_TOKENS: usize = 4096;

// --- titles ---

/// RRsets beneath one label of a zone that comes from a primary: ten thousand delegations with DS, and glue. A row of
/// the state has them all, and is written anew when one of them changes.
pub const MAX_RRSETS_PER_LABEL: usize = 32_768;
/// Bytes of all RDATA beneath such a label, and of the owner name of each RRset.
pub const MAX_LABEL_BYTES: usize = 2 * 1024 * 1024;
/// Bytes of a title's stored row: records beneath such a label at their bounds, type, TTL and lengths beside them (RDATA
/// of a byte takes two), and the title's own fields.
pub const MAX_TITLE_ROW: usize = 8 * 1024 * 1024;
const _: () = assert!(2 * MAX_LABEL_BYTES + 16 * MAX_RRSETS_PER_LABEL < MAX_TITLE_ROW);
const _: () = assert!(MAX_RRSETS_PER_LABEL >= MAX_RRSETS_PER_TITLE && MAX_LABEL_BYTES >= MAX_TITLE_BYTES);

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

// --- config ---

/// Bytes of a configuration or key file: room for a replica's shares of the keys of a thousand zones.
pub const MAX_CONFIG_FILE: u64 = 4 * 1024 * 1024;
/// Threads that answer DNS over UDP: more than any machine we run on has cores.
pub const MAX_DNS_WORKERS: usize = 64;

// --- order ---

/// Bytes of one block's payload: a few round trips' worth at gigabit speed; larger ones delay everybody's round.
pub const MAX_PAYLOAD: usize = 1024 * 1024;
/// Parents of one block for each replica of the committee: everybody's block of the previous round, and late ones up to
/// three times as many again. What does not fit is a parent of the next block. It is also what a corrupt author can make
/// others pull with one block.
pub const PARENTS_PER_REPLICA: usize = 4;
/// Parents of one block in the largest committee.
pub const MAX_PARENTS: usize = PARENTS_PER_REPLICA * MAX_REPLICAS;
/// Bytes of one encoded block: payload, parents of at most 50 bytes each, and the fixed fields.
pub const MAX_BLOCK: usize = MAX_PAYLOAD + 50 * MAX_PARENTS + 512;
/// Rounds, at most: far beyond any run (8,900 years at a thousand a second), so that sums of rounds cannot overflow.
pub const MAX_ROUND: u64 = 1 << 48;
/// Rounds below a committed leader whose blocks it may still emit, and that a block's parents may lie below it. A round
/// costs a synced write and a message delay, hence at least 1 ms: 10,000 rounds are at least 10 s.
pub const ORDER_DEPTH: u64 = 10_000;
/// Rounds that a block may be ahead of the last complete round and still be kept. What is further ahead is pulled when the
/// rounds between have come.
pub const ACCEPT_WINDOW: u64 = 128;
/// Blocks of one author kept while their parents are missing: one for each round of the window.
pub const MAX_SUSPENDED_BLOCKS: usize = 128;
/// Bytes of one author's blocks kept while their parents are missing: eight of the largest.
pub const MAX_SUSPENDED_BYTES: usize = 8 * 1024 * 1024;
/// Bytes of one author's blocks in the graph that wait to be ordered, before late ones of that author are left to be
/// pulled by those who need them: 32 of the largest, more than a correct author has under way.
pub const MAX_UNORDERED_BYTES: usize = 32 * MAX_PAYLOAD;
/// Misdeeds of one replica that are kept with the blocks that prove them, at most 2 MiB each.
pub const MAX_PROOFS_PER_CULPRIT: usize = 8;
/// Missing parents asked for in one message on account of one replica, so that invented ones do not crowd out real ones.
pub const MAX_FETCHED_REFERENCES: usize = 64;
/// Ticks between two requests for missing blocks, at most, while nothing new comes: a minute.
pub const MAX_TICKS_UNASKED: u32 = 256;
/// Rounds below the last committed leader whose ordered blocks stay in memory: what slightly slower peers ask for.
/// Older ones are on disk.
pub const KEPT_ROUNDS: u64 = 64;
/// Bytes above which an ordered block is left to the disk at once: 64 rounds of larger ones would fill the memory.
pub const MAX_KEPT_BLOCK: usize = 16 * 1024;
/// Rounds that a replica may be behind what a kernel has shown before it stops proposing and only catches up.
pub const CATCH_UP_ROUNDS: u64 = 8;
/// Rounds below a committed leader in which an author must have had a block ordered to count as alive.
pub const ALIVE_ROUNDS: u64 = 16;
/// Leader slots in one round, at most: with as many as replicas every block of a round could lead.
pub const MAX_LEADERS_PER_ROUND: usize = 8;

// --- crypto ---

/// Bits of an RSA modulus: what every TLS client accepts, for a CA that lives less than ten years (NIST SP 800-57).
pub const RSA_MODULUS_BITS: u32 = 2048;
/// Bytes of an RSA modulus, and of a signature.
pub const RSA_MODULUS_BYTES: usize = RSA_MODULUS_BITS as usize / 8;
/// Bits of each of the two primes.
pub const RSA_PRIME_BITS: u32 = RSA_MODULUS_BITS / 2;
/// Bits of the response in a proof of an RSA share: those of the modulus and twice those of the challenge (Shoup §3.1).
pub const RSA_RESPONSE_BITS: u32 = RSA_MODULUS_BITS + 2 * 256;
/// Bytes of an encoded RSA share: value, challenge and response.
pub const RSA_SHARE_BYTES: usize = RSA_MODULUS_BYTES + 32 + RSA_RESPONSE_BITS as usize / 8;
/// Bytes of an encoded RSA public key, at most: modulus, generator and a verification key of each replica.
pub const MAX_RSA_PUBLIC_BYTES: usize = RSA_MODULUS_BYTES * (MAX_REPLICAS + 2) + 2;

/// Bytes that a sealed operation is padded to a multiple of, so that its length tells little: every registration takes one.
pub const SEALED_PADDING: usize = 512;
/// Bytes of a sealed message: the largest operation, padded.
pub const MAX_SEALED_MESSAGE: usize = MAX_OPERATION + SEALED_PADDING;
/// Bytes of an envelope: the ciphertext's two points and the message.
pub const MAX_ENVELOPE: usize = 48 + 96 + MAX_SEALED_MESSAGE;

/// Common denominator of a quorum's Lagrange coefficients up to which coins are combined by small numbers: for 4 replicas
/// it is 3 at most, for 7 15, for 10 108; looking for it takes less than a millisecond for each quorum.
pub const MAX_DENOMINATOR: u64 = 1024;
/// Numerators likewise: a few doublings, instead of 250.
pub const MAX_NUMERATOR: u64 = 1 << 20;
/// Quorums whose Lagrange coefficients are kept: all there are with 4 and 7 replicas, and with more those that are fast
/// lately.
pub const MAX_RECOMBINATIONS: usize = 64;

// --- signing ---

/// Commitments in one batch of nonces: 64 bytes each, so that a full batch is a sixteenth of a block's payload.
pub const MAX_NONCE_BATCH: usize = 1024;
/// Commitments of one replica that are ordered and not yet used: enough to sign the real root zone at genesis in one go
/// (2,800 RRsets, two signers of four), at 256 KiB of memory a replica.
pub const MAX_UNUSED_NONCES: usize = 4096;
/// Rounds from an assignment to its first deadline. A share is ordered two wave lengths later if all goes well (one to
/// see the commit, one to commit the share); half as much again for unequal links.
pub const SHARE_DEADLINE_ROUNDS: u64 = 16;
/// Doublings of that distance, at most: 2¹⁹ rounds are more than an hour at the fastest pace.
pub const MAX_DEADLINE_DOUBLINGS: u32 = 15;
/// Attempts at one task whose late shares still count. Distances double, so the sixteenth is hours after the first.
pub const MAX_LIVE_ATTEMPTS: usize = 16;
/// Rounds from a demotion to the first probe: a few deadlines, so that what delayed the signer may have passed.
pub const PROBE_ROUNDS: u64 = 64;
/// Doublings of that distance, at most: a replica that is back after days is tried again within minutes.
pub const MAX_PROBE_DOUBLINGS: u32 = 10;
/// Rounds without a demotion after which an earlier one is forgotten.
pub const STRIKE_DECAY_ROUNDS: u64 = 1 << 14;
/// Bytes of a share of an RSA signature: RSA-4096 with a proof of twice that size fits.
pub const MAX_RSA_SHARE: usize = 2048;

// --- ca ---

/// Seconds a certificate is valid from agreed time on: short enough to need no revocation pointers (BR §4.9.7, seven
/// days), long enough to renew by hand once a week fails only the careless.
pub const CERTIFICATE_VALIDITY_S: u64 = 6 * 24 * 3600;
/// Seconds from a certificate's first to its last second, at most: what the BR call short-lived.
pub const MAX_CERTIFICATE_VALIDITY_S: u64 = 7 * 24 * 3600;
/// Seconds by which validity starts before agreed time, for clients whose clocks are late (BR §7.1.2.7 allows 48 h).
pub const CERTIFICATE_BACKDATE_S: u64 = 3600;
/// Seconds that a title must still live to be worth a certificate.
pub const MIN_CERTIFICATE_VALIDITY_S: u64 = 3600;
/// Seconds since the epoch of the last second of the year 9999, the last that X.509 can name (RFC 5280 §4.1.2.5).
pub const MAX_CERTIFICATE_TIME_S: u64 = 253_402_300_799;
/// Bytes of a to-be-signed certificate: the names and the key at their largest, and 2 KiB for the rest.
pub const MAX_TBS: usize = MAX_SANS * 260 + MAX_SPKI + 2048;
/// Bytes of a certification request, in DER or PEM: one with a hundred names and an RSA-4096 key has under 8 KiB.
pub const MAX_CSR: usize = 16 * 1024;
/// Bits of an RSA modulus in a certificate, at least (BR §6.1.5).
pub const MIN_RSA_BITS: u32 = 2048;
/// Bits of an RSA modulus in a certificate, at most: larger ones cost every client, and some refuse them.
pub const MAX_RSA_BITS: u32 = 4096;
/// The largest prime tried against an RSA modulus (BR §6.1.6: no factors smaller than 752).
pub const MAX_SMALL_PRIME: u16 = 751;
/// Rounds of Fermat's factorization tried against an RSA modulus (BR §6.1.1.3 asks for 100).
pub const FERMAT_ROUNDS: usize = 100;
/// Bytes of the authority's RSA modulus and of its signatures: 2048 bits, which every client accepts.
pub const RSA_AUTHORITY_BYTES: usize = 256;
/// Zones in the authority's name constraints: verifiers compare each with each name of a chain, and cap that work.
pub const MAX_CONSTRAINED_ZONES: usize = 256;

// --- store ---

/// Bytes of RocksDB's block cache: the state lives in the process's memory, so few reads reach the disk.
pub const STORE_BLOCK_CACHE: usize = 8 * 1024 * 1024;
/// Bytes of RocksDB's write buffers, all together: a few seconds of blocks at full speed.
pub const STORE_WRITE_BUFFERS: usize = 12 * 1024 * 1024;
/// Bytes of one column family's write buffer.
pub const STORE_WRITE_BUFFER: usize = 4 * 1024 * 1024;
/// Bytes of RocksDB's write-ahead logs: what is read again at the start after a crash.
pub const STORE_LOG: u64 = 32 * 1024 * 1024;
/// Bytes of one file of blocks. Blocks come almost in the order of their rounds: a compaction rewrites the last file, whose
/// rounds the new ones overlap, and no others.
pub const STORE_BLOCKS_FILE: u64 = 8 * 1024 * 1024;
/// Bytes of a page of such a file. A page has one entry in the file's index, of which as many as fit fill the block
/// cache as files come: with pages of 4 KiB, one for each of our blocks, they grew to all of it within an hour.
pub const STORE_BLOCKS_PAGE: usize = 64 * 1024;
/// Files that RocksDB holds open.
pub const STORE_OPEN_FILES: i32 = 128;

/// Bits of a row's place that choose its bucket. With 2¹⁴ buckets, one of a million rows is 61 rows long: 4 KiB hashed for
/// a change, and the digests of all buckets together take 640 KiB, one message.
pub const STATE_BUCKET_BITS: u32 = 14;

/// Rows read at a time by whoever reads all of them.
pub const ROWS_AT_A_TIME: usize = 4096;
/// Bytes of rows in a page that is read ahead; and pages that wait, so that neither who reads nor who looks stands still.
pub const PAGE_AHEAD: usize = 256 * 1024;
pub const PAGES_AHEAD: usize = 4;
/// Bytes that are asked of the disk at once then.
pub const READ_AHEAD: usize = 1024 * 1024;

// --- heads and the copying of state ---

/// Milliseconds of agreed time between two heads: four a second cost each replica some 3 % of a core, and a change waits
/// for its proof no longer than a resolver waits for a retry.
pub const HEAD_INTERVAL_MS: u64 = 250;
/// Heads of ours that wait for their signature. A head covers all before it, so older ones are let go.
pub const PENDING_HEADS: usize = 8;
/// Shares kept of each peer: it may be some heads ahead of us.
pub const HEADS_PER_PEER: usize = 4;
/// Bytes of a signed head, or of a head with a share: nine numbers and digests, and 96 bytes.
pub const MAX_HEAD_MESSAGE: usize = 512;
/// Milliseconds of agreed time between two checkpoints.
pub const CHECKPOINT_INTERVAL_MS: u64 = 60_000;
/// Operations after which a checkpoint comes earlier, so that under load those who join have little to replay.
pub const CHECKPOINT_OPERATIONS: u64 = 5_000;
/// Milliseconds of agreed time between two checkpoints all the same: each writes the memory's rows to the disk, some 20 ms.
pub const CHECKPOINT_PAUSE_MS: u64 = 2_000;
/// Rounds that a replica may be behind a signed checkpoint and still pull all blocks between.
pub const SYNC_BEHIND_ROUNDS: u64 = 2 * ORDER_DEPTH;
/// Operations that a replica may be behind a signed checkpoint and still execute all of them: each costs about 0.1 ms.
pub const SYNC_BEHIND_OPERATIONS: u64 = 10_000;
/// Rows copied in the time that an operation takes to execute, about: a large state is not copied for little.
pub const SYNC_ROWS_PER_OPERATION: u64 = 8;
/// Rounds of blocks kept below the newest signed checkpoint: minutes at the fastest pace, days on a quiet cluster. Whoever
/// is further behind copies the state.
pub const BLOCKS_KEPT_ROUNDS: u64 = 10 * ORDER_DEPTH;
/// Rounds kept even if the blocks are large: what a replica [`SYNC_BEHIND_ROUNDS`] behind still needs, while the others
/// move on.
pub const MIN_BLOCKS_KEPT_ROUNDS: u64 = SYNC_BEHIND_ROUNDS + 2 * ORDER_DEPTH;
/// Bytes of blocks on the disk beyond which no more than [`MIN_BLOCKS_KEPT_ROUNDS`] are kept.
pub const STORE_BLOCKS: u64 = 4 * 1024 * 1024 * 1024;
/// Rounds pruned at a time: each step leaves a tombstone.
pub const PRUNE_STEP_ROUNDS: u64 = 1024;
/// Bytes of state in one message, unless one bucket is larger and comes in pieces.
pub const SYNC_CHUNK: usize = 1024 * 1024;
/// Ticks that a peer may take for one piece of the state before others are asked: 5 s for a megabyte.
pub const SYNC_PATIENCE: u64 = 20;
/// Rows of the state for which a peer is given one tick more for its first piece: it reads all of them for an index, some
/// 200,000 a second if its machine has time.
pub const SYNC_ROWS_INDEXED_PER_TICK: u64 = 20_000;

// --- peer ---

/// Bytes of one block on a link: its payload, and room for parents, coin share and signature at 64 replicas.
pub const MAX_BLOCK_MESSAGE: usize = MAX_PAYLOAD + 64 * 1024;
/// Blocks asked for in one message.
pub const MAX_FETCH: usize = 1024;
/// Blocks in one answer, so that many small ones cost the receiver no more than a few large ones.
pub const MAX_ANSWERED_BLOCKS: usize = 1024;
/// Bytes of all blocks in one answer, with 4 for each block's length: a block of any size fits.
pub const MAX_BLOCKS_ANSWER: usize = 2 * 1024 * 1024;
/// Bytes of an answer to a start-up query: two rounds, a block and signatures.
pub const MAX_STARTUP_ANSWER: usize = MAX_BLOCK_MESSAGE + 4096;
/// Bytes of one frame after its length: the largest message, its kind and the frame's.
pub const MAX_FRAME: usize = MAX_BLOCKS_ANSWER + 2;
/// Bytes of the hello of another version of the peer protocol, which is read to say that it is another.
pub const MAX_HELLO: usize = 1024;
/// Bytes queued towards one peer. At 15 peers that are all gone, what is queued takes 60 MiB at most.
pub const OUTBOX_BYTES: usize = 4 * 1024 * 1024;
/// Bytes that a queued message counts beyond its own, for the memory around it.
pub const OUTBOX_OVERHEAD: usize = 128;
/// Bytes gathered into one write to a link, unless one message is longer.
pub const WRITE_BATCH: usize = 64 * 1024;
/// Messages of one peer that the node has not yet dealt with: enough to keep it busy, few enough to leave room for others.
pub const INBOUND_MESSAGES: usize = 64;
/// Bytes of one peer's messages that the node has not yet dealt with: two of the largest.
pub const INBOUND_BYTES: usize = 2 * MAX_FRAME;
/// Connections that have not shown a member's key yet. When there are more, the oldest is closed: a stranger who wants to
/// keep members out must open this many within one round trip.
pub const PENDING_HANDSHAKES: usize = 128;
/// Milliseconds for TCP connect, TLS handshake and hello, together.
pub const HANDSHAKE_TIMEOUT_MS: u64 = 5_000;
/// Milliseconds between pings.
pub const PING_INTERVAL_MS: u64 = 5_000;
/// Pings in a row that come in less than half that time, as they may after a stall; more are an attempt to keep us busy.
pub const MAX_QUICK_PINGS: u32 = 16;
/// Milliseconds without a whole frame after which a link counts as dead: six pings, or the largest frame at 70 kB/s.
pub const LINK_IDLE_MS: u64 = 30_000;
/// Milliseconds for one write to be taken by the peer. A dead process closes its links at once; this is for the others.
pub const WRITE_TIMEOUT_MS: u64 = 30_000;
/// Milliseconds before the second attempt to reach a peer.
pub const RECONNECT_FIRST_MS: u64 = 50;
/// Milliseconds between attempts, at most.
pub const RECONNECT_LAST_MS: u64 = 2_000;

// --- dns ---

/// Bytes of a UDP response without EDNS (RFC 1035 §4.2.1), and the least that EDNS can ask for (RFC 6891 §6.2.3).
pub const MIN_UDP_RESPONSE: usize = 512;
/// Bytes of a UDP response with EDNS: fits every path without fragments (DNS flag day 2020, RFC 9715).
pub const MAX_UDP_RESPONSE: u16 = 1232;
/// Bytes of the name that a server gives itself in NSID (RFC 5001): answers have to fit beside it.
pub const MAX_NSID: usize = 64;
/// Bytes after which a message of a zone transfer ends: one record more stays within reach of compression pointers.
pub const TRANSFER_MESSAGE: usize = 12 * 1024;
/// Bytes of a TSIG record with two names, the longest MAC and a time: room that a message leaves for it.
pub const MAX_TSIG_RECORD: usize = 512;
/// Seconds by which the clocks of the two ends of a TSIG exchange may differ (RFC 8945 §10 recommends it).
pub const TSIG_FUDGE_SECONDS: u16 = 300;
/// Bytes of a TSIG secret. Below 16 it could be guessed; more than a block of SHA-512 adds nothing.
pub const MIN_TSIG_SECRET: usize = 16;
pub const MAX_TSIG_SECRET: usize = 128;
/// Secondaries that are told of new versions: a task and a socket each.
pub const MAX_NOTIFIED: usize = 64;
/// Zones that a secondary is told of at a time.
pub const NOTIFY_BATCH: usize = 64;
/// Time that a secondary has to reply to the first NOTIFY; the distance doubles with each that is not replied to.
pub const NOTIFY_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(1);
/// Times that a secondary is told of one version, over a minute in all; the next version begins anew.
pub const NOTIFY_TRIES: u32 = 6;
/// Milliseconds between two moments at which secondaries are told of versions: faster ones are told of together. NSD loads
/// what it was given once a second, and takes what comes meanwhile for a failure after which it asks for the whole zone.
pub const NOTIFY_DISTANCE_MS: u64 = 2000;
/// TSIG keys of a replica: one for each secondary.
pub const MAX_TSIG_KEYS: usize = 256;
/// Seconds that a zone transfer may take: a large zone over a slow line, and no version of a zone held for ever.
pub const DNS_TRANSFER_SECONDS: u64 = 3600;
/// Bytes of a message over a stream (RFC 1035 §4.2.2).
pub const MAX_STREAM_MESSAGE: usize = 65_535;
/// Bytes of a query that is read, over any transport: a name, a type and some options are a tenth of it.
pub const MAX_QUERY: usize = 4096;
/// Records after the question of a query: OPT, TSIG or SIG(0), and the SOA of an IXFR; one to spare.
pub const MAX_QUERY_RECORDS: usize = 4;
/// CNAME and DNAME records followed in one answer. Resolvers give up at about the same length.
pub const MAX_CNAME_CHAIN: usize = 8;
/// Responses a second to one network of clients and question, unless the configuration says otherwise: what NSD has.
pub const DEFAULT_RATE_LIMIT: u32 = 200;
/// Accounts of a worker's response rate limiting, 12 bytes each: networks that ask within a second.
pub const RATE_ACCOUNTS: usize = 1 << 16;
/// Datagrams taken and sent with one system call: enough to make the call cheap, little enough to stay in cache.
pub const UDP_BATCH: usize = 64;
/// Milliseconds after which an idle UDP worker looks whether it shall stop.
pub const UDP_STOP_CHECK_MS: u64 = 200;
/// Bytes of socket buffer asked for in each direction: a burst of some thousand queries.
pub const UDP_SOCKET_BUFFER: usize = 4 * 1024 * 1024;
/// Descriptors that a replica takes beside those of clients: the database's files, links, and what listens.
pub const DESCRIPTORS_BESIDE: usize = 1024;
/// Stream connections that wait to be accepted: as many as may be served.
pub const DNS_BACKLOG: u32 = 1024;
/// Stream connections served at once by each listener. At the limit clients have equal shares of them.
pub const MAX_DNS_CONNECTIONS: usize = 1024;
/// Stream connections from one client address (an IPv6 client counts by its /64).
pub const MAX_DNS_CONNECTIONS_PER_CLIENT: usize = 128;
/// Seconds in which the next whole query must have arrived (RFC 7766 §6.2.3).
pub const DNS_STREAM_IDLE_SECONDS: u64 = 10;
/// Seconds in which what was written must have been taken by the client.
pub const DNS_STREAM_WRITE_SECONDS: u64 = 5;
/// Seconds that a connection lives, however busy: its place is given back now and then.
pub const DNS_STREAM_TOTAL_SECONDS: u64 = 300;
/// Requests at a time on an HTTP/2 connection: the least that clients may count on (RFC 9113 §6.5.2).
pub const MAX_HTTPS_STREAMS: u32 = 100;
/// Bytes of a request's headers: the longest query in base64, and what else browsers send.
pub const MAX_HTTPS_HEADERS: usize = 16 * 1024;
/// Bytes of a request's body that may come unasked: some queries of the greatest length.
pub const MAX_HTTPS_STREAM_WINDOW: u32 = 16 * 1024;
/// Bytes of bodies of all requests of a connection that may come unasked: the least there can be (RFC 9113 §6.9.2).
pub const MAX_HTTPS_CONNECTION_WINDOW: u32 = 65_535;
/// HTTP/2 streams reset before anybody looked at them, or for an error: no client does so on purpose (CVE-2023-44487).
pub const MAX_HTTPS_EARLY_RESETS: usize = 20;
/// Queries at a time on a QUIC connection, each on a stream of its own.
pub const MAX_QUIC_STREAMS: u32 = 100;
/// QUIC connections open before clients have to show their address first: enough for resolvers on a quiet day, too few
/// for a liar to take the place of a client whose address he uses ([`MAX_DNS_CONNECTIONS_PER_CLIENT`]).
pub const MAX_QUIC_UNPROVEN: usize = 64;
/// QUIC connections that wait to be looked at, which takes no time.
pub const MAX_QUIC_INCOMING: usize = 256;
/// Bytes that each of them may send meanwhile: a few packets.
pub const MAX_QUIC_INCOMING_BYTES: u64 = 8 * 1024;
/// Bytes that a QUIC client may send on all streams before they are read.
pub const QUIC_RECEIVE_WINDOW: u32 = 64 * 1024;
/// Bytes of responses on a QUIC connection that the client has not acknowledged: two of the longest.
pub const QUIC_SEND_WINDOW: u64 = 128 * 1024;
/// Seconds for the TLS or QUIC handshake of a DNS client: three round trips to the far side of the world take one.
pub const DNS_HANDSHAKE_SECONDS: u64 = 5;
/// Seconds between two looks at the files of the certificate that encrypted transports show.
pub const CERTIFICATE_CHECK_SECONDS: u64 = 2;
/// Bytes of such a file: a chain of ten certificates has some 20 KiB.
pub const MAX_CERTIFICATE_FILE: usize = 64 * 1024;
/// Certificates of a chain that is shown. Clients take no more either.
pub const MAX_CHAIN: usize = 10;
/// Bytes of answers gathered before they are written: pipelined queries share a write, slow readers hold no more.
pub const DNS_STREAM_WRITE_BUFFER: usize = 16 * 1024;

// --- http ---

/// Connections to the HTTP API at a time: each may hold a long poll, none costs more than a few kilobytes.
pub const MAX_HTTP_CONNECTIONS: usize = 1024;
/// Of these, from one address: one client cannot take all, and a load generator of 64 workers fits in.
pub const MAX_HTTP_CONNECTIONS_PER_ADDRESS: usize = 512;
/// Requests that wait for an outcome at a time; more are told to come again, so that short requests find room.
pub const MAX_HTTP_WAITING: usize = 768;
/// Milliseconds that one request may wait for an outcome.
pub const MAX_HTTP_WAIT_MS: u64 = 30_000;
/// Seconds between two requests on a connection, and to read a request's head, before it is closed.
pub const HTTP_HEAD_TIMEOUT_S: u64 = 10;
/// Seconds in which a request's body must have come: 72 KiB in 10 s is slower than any modem.
pub const HTTP_BODY_TIMEOUT_S: u64 = 10;
/// Seconds that a client may leave an answer unread before it is cut off.
pub const HTTP_WRITE_TIMEOUT_S: u64 = 10;
/// Bytes of a request's head.
pub const MAX_HTTP_HEAD: usize = 16 * 1024;
/// Misdeeds of others listed in a replica's status.
pub const MAX_MISDEEDS_REPORTED: usize = 32;
/// Blocks that prove the misdeeds of one replica in one round: twins, and one with a false share of the coin.
pub const MAX_PROOF_BLOCKS: usize = 3;
/// Entries in one answer about a title's history, the newest; an event with names in it has up to 10 KiB.
pub const MAX_HISTORY_ENTRIES: usize = 500;
/// Names listed in one event of a history.
pub const MAX_EVENT_ITEMS: usize = 8;

// --- client ---

/// Bytes of an answer that a client reads: a title with its full allowance of records in presentation form.
pub const MAX_ANSWER: usize = 8 * 1024 * 1024;
/// Bytes of an outcome or acknowledgement that a client reads: a few fields, with a message for the owner.
pub const MAX_OUTCOME_ANSWER: usize = 16 * 1024;
/// Different answers kept from one replica while a read looks for agreement: one that keeps changing what it says
/// costs no more memory than this.
pub const MAX_ANSWERS_PER_REPLICA: usize = 4;
/// Milliseconds in which a replica answers a DNS query, if it is ready.
pub const PROBE_TIMEOUT_MS: u64 = 500;
/// Times that a check asks a server before it counts as silent.
pub const PROBE_TRIES: u32 = 4;
/// Milliseconds after which a check asks those again that are behind: a version reaches all replicas in far less.
pub const CHECK_AGAIN_MS: u64 = 1_000;
/// Seconds that a heartbeat may be late, for signing it and for clocks that differ.
pub const HEARTBEAT_GRACE: u64 = 60;
/// Milliseconds to connect to a replica.
pub const CONNECT_TIMEOUT_MS: u64 = 2_000;
/// Milliseconds for a request that does not wait.
pub const REQUEST_TIMEOUT_MS: u64 = 5_000;
/// Milliseconds after which an operation that is not confirmed goes to all replicas.
pub const ESCALATE_AFTER_MS: u64 = 1_000;
/// Milliseconds of one long poll: short enough that a replica which forgets us is asked again.
pub const POLL_WAIT_MS: u64 = 5_000;
/// Milliseconds between two requests to the same replica for the same thing: first, and at most.
pub const RETRY_MS: (u64, u64) = (25, 1_000);
/// Milliseconds that an owner waits for a confirmation, unless told otherwise.
pub const CLIENT_TIMEOUT_MS: u64 = 30_000;
/// Milliseconds from now that a new operation stays valid.
pub const OPERATION_VALIDITY_MS: u64 = 600_000;
/// Milliseconds that `status` waits for the replicas that have not answered once enough have.
pub const STRAGGLERS_MS: u64 = 500;

// --- replica ---

/// Milliseconds by which a clock may be found ahead of agreed time: half of what a heartbeat may be late.
pub const MAX_CLOCK_AHEAD_MS: u64 = 30_000;
/// Operations in one block: bounds the work that one block can make everybody do.
pub const MAX_OPERATIONS_PER_BLOCK: usize = 1024;
/// Signature shares in one block. The genesis of a large zone needs thousands, in a few blocks.
pub const MAX_SHARES_PER_BLOCK: usize = 4096;
/// Envelopes in one block. Each costs every replica some 6 ms to check and open: with 4, what one liar puts in a round
/// takes 25 ms, and full rounds carry more than a hundred registrations a second.
pub const MAX_SEALED_PER_BLOCK: usize = 4;
/// Envelopes of one author's blocks that are ordered and not executed: those of eight full blocks, as many as come
/// while the first of them is opened.
pub const MAX_SEALED_WAITING: usize = 8 * MAX_SEALED_PER_BLOCK;
/// Decryption shares in one block: 64 replicas open what all of them sealed in a round in four blocks.
pub const MAX_OPENINGS_PER_BLOCK: usize = 64;
/// Bytes of one author's blocks that wait behind what is sealed: four of the largest. At 64 replicas, 256 MiB at most.
pub const MAX_BACKLOG_BYTES: usize = 4 * MAX_PAYLOAD;
/// Bytes that a waiting block counts beyond its contents.
pub const BACKLOG_BLOCK_OVERHEAD: usize = 64;
/// Envelopes that passed the check at the door and are remembered until they are ordered: 5 MiB if all are of the largest.
pub const MAX_CHECKED_ENVELOPES: usize = 64;
/// Envelopes checked at the door at a time, each for 5 ms of one core: whoever sends junk leaves the others to the order.
pub const MAX_ENVELOPE_CHECKS: usize = 1;
/// Bytes of operations that wait at one replica to be ordered.
pub const MAX_POOL_BYTES: usize = 16 * 1024 * 1024;
/// Rounds that each further replica waits before it proposes an operation that another should have proposed: one to
/// propose, one to reach here, one in reserve.
pub const BACKUP_ROUNDS: u64 = 3;
/// Ticks after which an operation that nobody has proposed yet is handed on to the other replicas: most are ordered by
/// then.
pub const HAND_ON_TICKS: u64 = 2;
/// Ticks after which it is handed on once more, at most; the distance doubles until there.
pub const MAX_HAND_ON_TICKS: u64 = 256;
/// Bytes of operations handed on at one tick, unless one operation has more.
pub const MAX_HANDED_ON_AT_ONCE: usize = 32 * 1024;
/// Bytes of operations that wait here because one peer handed them on: a sixteenth of the pool.
pub const MAX_HANDED_ON_BYTES: usize = MAX_POOL_BYTES / 16;
/// Operations of one peer that are looked at between two ticks: what it may hand on at one, if they are of usual size.
pub const MAX_HANDED_ON_CHECKS: u32 = 128;
/// Open operations that a sealed one costs as much to look at as: milliseconds against a twentieth of one.
pub const COST_OF_HANDED_ON_ENVELOPE: u32 = 64;
/// Milliseconds by which agreed time may lag the clock when operations are proposed; beyond, a round without them comes
/// first. Well below what an operation's validity is counted in.
pub const QUIET_MS: u64 = 1_000;
/// Rounds after which an operation that is in the DAG but not ordered is proposed again: several waves.
pub const REPROPOSE_ROUNDS: u64 = 30;
/// Bytes of the changes from one version of a primary's zone to the next: all of a zone of a hundred thousand names, or
/// what changes in a day in one of ten million. A new zone begins with its file in the genesis.
pub const MAX_CHANGES: usize = MAX_CHANGE_PARTS * CHANGE_PART;
/// Bytes of the parts that changes are ordered in, the last aside: an eighth of a payload.
pub const CHANGE_PART: usize = 128 * 1024;
/// Parts of the changes of one version: 4 KiB of digests in a vote.
pub const MAX_CHANGE_PARTS: usize = 128;
/// Parts in one block: operations and shares have the rest of it.
pub const MAX_CHANGE_PARTS_PER_BLOCK: usize = 2;
/// Votes on zones' versions in one block.
pub const MAX_VOTES_PER_BLOCK: usize = 8;
/// Votes of one replica on one zone that count: its latest. Several, since the versions that replicas see may differ
/// while a registry changes its zone more often than it is voted on.
pub const MAX_VOTES_PER_ZONE: usize = 4;
/// Bytes of a zone as a primary transfers it: as much as fits into a genesis.
pub const MAX_TRANSFER_BYTES: usize = MAX_GENESIS;
/// Primaries that a replica asks: one for each zone, and more zones than one cluster signs.
pub const MAX_PRIMARIES: usize = 64;
/// Seconds between two looks at a primary's serial, at least and at most, whatever its SOA record says.
pub const PRIMARY_REFRESH: std::ops::RangeInclusive<u32> = 1..=86_400;
/// Seconds until a primary that did not answer is asked again.
pub const PRIMARY_RETRY: u32 = 30;
/// How long a connection to a primary, or its next message, may take.
pub const PRIMARY_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);
/// Bytes of an encoded genesis: a zone of a million names.
pub const MAX_GENESIS: usize = 256 * 1024 * 1024;
/// Bytes of operations in one block: what shares and nonces may need is left free.
pub const PAYLOAD_FOR_OPERATIONS: usize = MAX_PAYLOAD / 2;
/// Commitments to nonces kept ready in ordered blocks: signatures of a second at full load.
pub const NONCES_AHEAD: usize = 512;
/// Bytes of the stored state machine's small rows.
pub const MAX_META_ROW: usize = 1024 * 1024;
/// Bytes of a stored certificate with its to-be-signed part.
pub const MAX_CERTIFICATE_ROW: usize = 16 * 1024;
/// Milliseconds that an outcome can be asked for at least.
pub const OUTCOME_KEPT_MS: u64 = 600_000;

/// Seconds that resolvers may keep the DNSKEY RRset.
pub const DNSKEY_TTL: u32 = 3600;
/// Versions of a zone that a secondary may be behind and still get the difference alone: minutes of a busy register,
/// days of a quiet one. A row of the state each.
pub const MAX_DIFFERENCES: usize = 4096;
/// Bytes of what these versions changed, for each zone: at half a kilobyte for an operation more than 20,000 of them,
/// or the renewals of 60,000 RRsets. A version that changes more than this is transferred as the whole zone.
pub const MAX_DIFFERENCE_BYTES: usize = 16 * 1024 * 1024;
/// Seconds that a signature may hold: so long a replica that lies can show what was, and nobody can tell.
pub const MAX_SIGNATURE_VALIDITY: u32 = 90 * 24 * 3600;
/// Seconds from a signature to its renewal, at least: a zone of a few names renewed all the time is still a small load.
pub const MIN_RENEWAL: u32 = 2;
/// Seconds between two heartbeats, at least. Each is a version of the zone, which takes a few rounds to sign.
pub const MIN_HEARTBEAT: u32 = 1;
/// Names up to which a zone has a digest of all its records unless its policy says otherwise: some 1.5 MB of records,
/// hashed in a few milliseconds at each version.
pub const ZONEMD_NAMES: u32 = 2000;
/// Names of a larger zone with a digest, for each second between two of its versions: a tenth of a core is spent on
/// hashing.
pub const ZONEMD_NAMES_PER_SECOND: u32 = 50_000;
/// Seconds between two versions of a zone, at most: what owners would wait to see their changes.
pub const MAX_VERSION_INTERVAL: u32 = 3600;
/// RRsets renewed in one version: a large zone is renewed in steps, so that changes do not wait for all of it.
pub const MAX_RENEWALS_PER_VERSION: usize = 512;

/// Shares made in one go, so that a flood of assignments does not hold up blocks: some 50 ms of work.
pub const MAX_SIGNED_AT_ONCE: usize = 512;
/// Zone signature shares that a certificate's share costs as much as: milliseconds against a tenth of one.
pub const COST_OF_CERTIFICATE_SHARE: usize = 64;
/// Bytes of blocks gathered for the answer to one fetch: half of what an answer holds, so that the last one fits in.
pub const FETCH_ANSWER: usize = MAX_BLOCKS_ANSWER / 2;

/// Blocks of one peer that may be checked between two ticks without entering the graph: invalid, unwelcome, or ahead of
/// their parents. A correct peer has a few dozen; 256 checks take some 15 ms, a sixteenth of a tick.
pub const MAX_VAIN_CHECKS: u32 = 256;
/// Work between two ticks on one peer's requests for blocks, in answers from memory.
pub const MAX_FETCH_COST: u32 = 64;
/// Answers from memory that an answer over many rounds costs as much as, since it may fill a message.
pub const COST_OF_DEEP_FETCH: u32 = 8;
/// Blocks looked up on the disk that cost as much as an answer from memory.
pub const LOOKUPS_PER_FETCH_COST: usize = 16;
/// Start-up questions of one peer answered between two ticks: one is asked at each tick and each new link.
pub const MAX_STARTUP_ANSWERS: u32 = 4;

// --- node ---

/// How often the testbed looks after its replicas.
pub const TESTBED_POLL: std::time::Duration = std::time::Duration::from_millis(100);

/// Inputs that wait for the core: peers' budgets and owners' operations.
pub const CORE_INPUTS: usize = 4096;
/// Inputs that the core takes before it looks whether a round is due: blocks of several rounds at once.
pub const CORE_BATCH: usize = 256;
/// Time for which writes that need no sync are gathered, at least: each is a system call. The next own block takes them
/// along; a process that is killed reads the same from its peers again.
pub const FLUSH_INTERVAL: std::time::Duration = std::time::Duration::from_millis(10);
/// Bytes of blocks with payloads that wait to be ordered, above which rounds keep a distance: what is under way at some
/// 8,000 operations of 300 bytes a second.
pub const PACED_ABOVE: usize = 32 * 1024;
/// That distance. Without it four replicas on one machine of two cores make 500 rounds a second under load, each for 0.5 ms
/// of every replica; p50 to commit is 5 rounds, thus below 15 ms still.
pub const ROUND_DISTANCE: std::time::Duration = std::time::Duration::from_micros(2500);
/// Time after which the core asks again for what is missing: links lose messages only when they break.
pub const RETRY_INTERVAL: std::time::Duration = std::time::Duration::from_millis(250);
/// Time between two looks whether anybody still reads a store that another has taken the place of.
pub const RETIRE_POLL: std::time::Duration = std::time::Duration::from_millis(50);
/// Requests for state of one peer that wait for the thread that answers them. A replica that copies has one under way with
/// each peer; a second may follow when the first was given up.
pub const STATE_REQUESTS_PER_PEER: usize = 2;
/// Time without a request after which the copy of a state that others took is closed.
pub const STATE_IDLE: std::time::Duration = std::time::Duration::from_secs(30);
/// Time that one copy is held for those who take it, at most: its files take room.
pub const STATE_HELD: std::time::Duration = std::time::Duration::from_secs(1800);
/// Time between two steps of the scrubber, of [`ROWS_AT_A_TIME`] rows each: a million rows are read in an hour, by 0.1 % of
/// a core.
pub const SCRUB_PAUSE: std::time::Duration = std::time::Duration::from_secs(15);
/// Ticks of the core between two looks at what the blocks take on the disk.
pub const BLOCK_BYTES_TICKS: u64 = 240;
/// Time that tasks have to end when the process is told to stop.
pub const STOP_WITHIN: std::time::Duration = std::time::Duration::from_secs(2);
/// Characters shown of the version that a replica claims to be.
pub const MAX_VERSION_TEXT: usize = 24;
/// Bytes of a key, CSR, certificate or cluster file.
pub const MAX_INPUT_FILE: u64 = 256 * 1024;

// --- bench ---

/// Port of replica 0's DNS in a testbed that a benchmark starts: beside the demonstration's.
pub const BENCH_PORT_BASE: u16 = 8300;
/// Seconds of load before anything is measured: connections are open and caches are warm.
pub const BENCH_WARM_UP_S: u64 = 2;
/// Registrations under way at a time before the load.
pub const BENCH_REGISTER_WORKERS: usize = 32;
/// Latencies that one node of the ordering benchmark keeps: enough for a 99th percentile, 400 KB.
pub const BENCH_LATENCIES: usize = 100_000;
/// What the slow peer of the ordering benchmark waits after each message: the others send it fifty times as many.
pub const BENCH_SLOW_PEER_PAUSE: std::time::Duration = std::time::Duration::from_millis(50);
/// KiB by which the others may grow meanwhile: their queues towards it, and what they keep for it to pull.
pub const BENCH_MAX_GROWTH_KIB: u64 = 64 * 1024;
/// How often a node of the ordering benchmark looks whether operations are due.
pub const BENCH_TICK: std::time::Duration = std::time::Duration::from_millis(1);
/// Commits after which the recovery benchmark compares roots.
pub const BENCH_RECOVERY_COMMITS: u64 = 1000;
/// Time between operations while a replica of the recovery benchmark copies the state.
pub const BENCH_RECOVERY_PAUSE: std::time::Duration = std::time::Duration::from_millis(20);
