//! What a process has used, by proc(5).

use std::fs;
use std::ops::{Add, Sub};
use std::path::Path;
use std::process;

/// CPU time in microseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Cpu {
    pub user: u64,
    pub system: u64,
}

impl Cpu {
    /// Of the process so far; nothing if it is gone.
    pub fn of(pid: u32) -> Self {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok();
        stat.and_then(|stat| Self::parse(&stat)).unwrap_or_default()
    }

    pub fn of_this_process() -> Self {
        Self::of(process::id())
    }

    /// Fields 14 and 15 of /proc/PID/stat. The command's name, field 2, may hold blanks and parentheses.
    fn parse(stat: &str) -> Option<Self> {
        // The kernel shows them in hundredths of a second on every architecture we build for (USER_HZ).
        const TICK_US: u64 = 10_000;
        let (_, fields) = stat.rsplit_once(')')?;
        let mut fields = fields.split_whitespace().skip(11).map(|field| field.parse::<u64>().ok());
        Some(Self { user: fields.next()?? * TICK_US, system: fields.next()?? * TICK_US })
    }

    pub fn total(self) -> u64 {
        self.user + self.system
    }
}

impl Add for Cpu {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { user: self.user + other.user, system: self.system + other.system }
    }
}

impl Sub for Cpu {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self { user: self.user.saturating_sub(earlier.user), system: self.system.saturating_sub(earlier.system) }
    }
}

impl std::iter::Sum for Cpu {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::default(), Self::add)
    }
}

/// Resident memory of a process in KiB; 0 if it is gone.
pub fn resident_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Whether a process with this number runs.
pub fn is_running(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// The process whose number is in `file`, if it runs.
pub fn pid_in(file: &Path) -> Option<u32> {
    let pid = fs::read_to_string(file).ok()?.trim().parse().ok()?;
    is_running(pid).then_some(pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "12 (a) b (c) S 1 12 12 0 -1 4194304 900 0 0 0 250 40 0 0 20 0 9 0 77 100 200";
        assert_eq!(Cpu::parse(stat), Some(Cpu { user: 2_500_000, system: 400_000 }));
        assert_eq!(Cpu::parse("12 (a"), None);
    }

    #[test]
    fn this_process_runs_and_has_memory() {
        assert!(is_running(process::id()) && resident_kib(process::id()) > 0);
    }
}
