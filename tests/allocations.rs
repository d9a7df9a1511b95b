//! Answers take no memory from the allocator, whatever is asked: only a CNAME or DNAME that is followed may.

#![allow(unsafe_code)]

#[path = "support/example_zone.rs"]
mod example_zone;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use torrens::directory::name::Name;
use torrens::directory::name_ref::NameBuffer;
use torrens::dns::{Client, Settings, Transport, answer, fetch, query};

/// The system's allocator, counting on this thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator as it is; counting touches a thread-local number that needs no
// memory and has no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promises are the system allocator's demands.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above; all memory is the system allocator's.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn allocations_of(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

fn question(name: &str, rtype: u16, edns: bool) -> Vec<u8> {
    let mut message = vec![7, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(edns)];
    message.extend_from_slice(Name::parse(name, None).unwrap().as_wire());
    message.extend_from_slice(&rtype.to_be_bytes());
    message.extend_from_slice(&[0, 1]);
    if edns {
        // DO, and a client cookie.
        message.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0x80, 0, 0, 12, 0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8]);
    }
    message
}

#[test]
fn an_answer_allocates_nothing() {
    let view = example_zone::view();
    let settings = Settings::new("counted", [7; 16]);
    let client = Client::new(Transport::Udp { max: 1232 }, [192, 0, 2, 1].into(), 1_000_000, &settings);
    let mut out = Vec::with_capacity(4096);
    let (mut counted, mut name) = (0, NameBuffer::default());
    let names =
        ["example.", "www.example.", "no.example.", "ent.example.", "a.ns.sub.example.", "x.y.wild.example.", "org."];
    for asked in names {
        for rtype in [1, 2, 6, 28, 43, 46, 47, 255, 65_280] {
            for edns in [true, false] {
                let message = question(asked, rtype, edns);
                let aliased = asked.contains("wild");
                let count = allocations_of(|| {
                    let parsed = [query::parse(&message, &mut name)];
                    fetch(&view, &parsed);
                    let [Ok(parsed)] = parsed else { panic!("a query") };
                    answer(&view, &parsed, &client, &mut out);
                });
                assert!(count == 0 || aliased, "{asked} {rtype}: {count} allocations");
                counted += 1;
            }
        }
    }
    assert_eq!(counted, names.len() * 18);
    assert_eq!(allocations_of(|| drop(vec![0; 9])), 1, "they are counted");
}
