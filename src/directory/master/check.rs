//! What makes records a zone that can be served.

use std::collections::BTreeMap;

use super::parse::{Collected, Reader};
use super::{MasterError, ZoneFile};
use crate::directory::name::Name;
use crate::directory::primary::check_labels;
use crate::directory::records::{self, RecordsError};
use crate::directory::rrset::{Rrset, Rtype};

/// Not taken over at the apex: the service publishes its own.
const REPLACED_AT_APEX: [Rtype; 3] = [Rtype::DNSKEY, Rtype::CDS, Rtype::CDNSKEY];

pub(super) fn zone(reader: Reader<'_, '_>, file_name: &str) -> Result<ZoneFile, MasterError> {
    let Reader { files, rrsets, .. } = reader;
    let at = |collected: &Collected, message: String| MasterError {
        file: files[collected.file].clone(),
        line: collected.line,
        message,
    };
    let whole = |message: String| MasterError { file: file_name.to_string(), line: 1, message };

    let mut starts = rrsets.iter().filter(|((_, rtype), _)| *rtype == Rtype::SOA);
    let apex = match (starts.next(), starts.next()) {
        (Some(((apex, _), _)), None) => apex.clone(),
        (Some(((first, _), a)), Some(((second, _), b))) => {
            let later = if (a.file, a.line) > (b.file, b.line) { a } else { b };
            return Err(at(later, format!("SOA records at {first} and at {second}: a zone has one, remove the other")));
        }
        (None, _) => return Err(whole("no SOA record: write @ SOA PRIMARY MAILBOX 1 3h 1h 1w 1h".into())),
    };
    if !rrsets.contains_key(&(apex.clone(), Rtype::NS)) {
        let message = format!("no NS record at {apex}: write @ NS and the name of a server");
        return Err(at(&rrsets[&(apex.clone(), Rtype::SOA)], message));
    }
    for ((name, rtype), collected) in &rrsets {
        check_place(name, *rtype, &apex).map_err(|message| at(collected, message))?;
    }

    let places: BTreeMap<(Name, Rtype), (usize, usize)> =
        rrsets.iter().map(|(key, collected)| (key.clone(), (collected.file, collected.line))).collect();
    let records: BTreeMap<(Name, Rtype), Rrset> = rrsets
        .into_iter()
        .filter(|((name, rtype), _)| *name != apex || !REPLACED_AT_APEX.contains(rtype))
        .map(|((name, rtype), collected)| ((name, rtype), Rrset::new(rtype, collected.ttl, collected.rdatas)))
        .collect();
    check_contents(&records, &apex).map_err(|error| {
        let (file, line) = error.place().and_then(|place| places.get(&place).copied()).unwrap_or((0, 1));
        MasterError { file: files[file].clone(), line, message: error.to_string() }
    })?;
    check_labels(&records, &apex).map_err(|error| whole(error.to_string()))?;
    Ok(ZoneFile { apex, records })
}

/// Whether a type may stand at a name.
pub(in crate::directory) fn check_place(name: &Name, rtype: Rtype, apex: &Name) -> Result<(), String> {
    if !name.is_within(apex) {
        return Err(format!("{name} is not within the zone {apex}: end it without a dot, or leave it out"));
    }
    if name == apex {
        return match rtype {
            Rtype::DNAME => Err("DNAME at the apex would hide every title: remove it".into()),
            Rtype::DS => Err("DS stands on the parent's side of a cut, never at the apex: remove it".into()),
            Rtype::KEY => Err("KEY at the apex: keys belong to titles, remove it".into()),
            _ => Ok(()),
        };
    }
    if let Some(reason) = records::why_not_allowed(rtype) {
        return Err(format!("{rtype} records cannot be set: {reason}"));
    }
    Ok(())
}

/// The rules for RRsets side by side: for the apex, and for each title as for an owner's own records; how many there are
/// aside.
pub(in crate::directory) fn check_contents(
    records: &BTreeMap<(Name, Rtype), Rrset>,
    apex: &Name,
) -> Result<(), RecordsError> {
    let title_of = |name: &Name| name.suffix(apex.label_count() + 1);
    let mut group = BTreeMap::new();
    let mut group_title = None;
    for ((name, rtype), rrset) in records {
        records::check_rrset(name, rrset)?;
        let title = title_of(name);
        if title != group_title {
            records::check_relations(&group)?;
            group.clear();
            group_title = title;
        }
        group.insert((name.clone(), *rtype), rrset.clone());
    }
    records::check_relations(&group)
}
