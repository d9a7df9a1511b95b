//! The only reader of the system clock on behalf of the order.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::directory::Timestamp;

/// Milliseconds since the epoch by the local clock; 0 if it is set before 1970.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
