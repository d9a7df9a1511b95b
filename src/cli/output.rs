//! What commands give back, and how it is printed.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use comfy_table::{Table, presets};
use serde_json::{Value, json};

use crate::client::NotConfirmed;
use crate::client::input::InputError;
use crate::directory::Timestamp;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    Accepted = 0,
    Refused = 1,
    Usage = 2,
    NotConfirmed = 3,
    /// What [`super::check`] found, from here on.
    Silent = 4,
    Lagging = 5,
    Withholding = 6,
    Forging = 7,
    Divergent = 8,
}

impl Exit {
    /// Whether what is printed is a result, and not why there is none.
    fn is_result(self) -> bool {
        !matches!(self, Self::Refused | Self::Usage | Self::NotConfirmed)
    }
}

/// A result to print: the same for people and for programs.
#[derive(Clone, PartialEq, Debug)]
pub struct Report {
    pub exit: Exit,
    pub text: String,
    pub json: Value,
}

/// Why there is no result.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    Usage(String),
    NotConfirmed(String),
}

impl Failure {
    pub fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::NotConfirmed(_) => Exit::NotConfirmed,
        }
    }
}

impl From<InputError> for Failure {
    fn from(error: InputError) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<NotConfirmed> for Failure {
    fn from(error: NotConfirmed) -> Self {
        Self::NotConfirmed(error.to_string())
    }
}

impl Report {
    pub fn accepted(text: impl Into<String>, json: Value) -> Self {
        Self { exit: Exit::Accepted, text: text.into(), json }
    }

    /// A refusal that has no place in the order: found here, or at the replicas' doors.
    pub fn refused(code: &str, message: &str) -> Self {
        let json = json!({ "result": "refused", "code": code, "message": message });
        Self { exit: Exit::Refused, text: format!("refused ({code}): {message}\n"), json }
    }
}

/// What a server ended with: everything that stops one from the start is its input's fault.
pub fn print_served(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "torrens: {error:#}");
            ExitCode::from(Exit::Usage as u8)
        }
    }
}

/// Prints a result and gives the exit code. A reader that went away is no failure.
pub fn print(result: Result<Report, Failure>, as_json: bool) -> ExitCode {
    let (exit, text, json) = match result {
        Ok(Report { exit, text, json }) => (exit, text, json),
        Err(failure) => {
            let exit = failure.exit();
            let (result, message) = match failure {
                Failure::Usage(message) => ("usage", message),
                Failure::NotConfirmed(message) => ("not-confirmed", message),
            };
            (exit, format!("torrens: {message}\n"), json!({ "result": result, "message": message }))
        }
    };
    let written = if as_json {
        if json.is_null() { Ok(()) } else { writeln!(io::stdout(), "{json:#}") }
    } else if exit.is_result() {
        io::stdout().write_all(text.as_bytes())
    } else {
        io::stderr().write_all(text.as_bytes())
    };
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            let _ = writeln!(io::stderr(), "torrens: printing the result: {error}");
        }
        _ => {}
    }
    ExitCode::from(exit as u8)
}

/// Warnings and, with `TORRENS_LOG=debug`, what every replica answered.
pub fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("TORRENS_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .without_time()
        .with_target(false)
        .with_ansi(io::stderr().is_terminal())
        .init();
}

/// A table with a header row and no lines, each row ending in a line feed.
pub fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.to_vec());
    for row in rows {
        table.add_row(row.to_vec());
    }
    let mut text = String::new();
    for line in table.lines() {
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// RFC 3339, in UTC, to the second.
pub fn date(time: Timestamp) -> String {
    let (days, seconds) = (time.seconds() / 86_400, time.seconds() % 86_400);
    // Years from March of year 0, so that a leap day is the last day of its year (Hinnant, chrono-compatible
    // low-level date algorithms).
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        let at = |seconds: u64| date(Timestamp(seconds * 1000));
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(at(951_868_799), "2000-02-29T23:59:59Z");
        assert_eq!(at(951_868_800), "2000-03-01T00:00:00Z");
        assert_eq!(at(1_795_231_145), "2026-11-21T03:19:05Z");
        let _ = date(Timestamp(u64::MAX));
    }

    #[test]
    fn a_table_has_no_trailing_blanks() {
        let table = table(["zone", "serial"], [["names.example.".into(), "7".into()]]);
        assert_eq!(table.lines().count(), 2);
        assert!(table.lines().all(|line| line == line.trim_end()), "{table:?}");
    }
}
