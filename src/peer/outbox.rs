//! The queue towards one peer, bounded in bytes.
//!
//! When it is full the oldest answers go first, then the oldest blocks, because both can be asked for again;
//! only then the rest, which is small.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::limits::{OUTBOX_BYTES, OUTBOX_OVERHEAD};
use crate::replica::message::PeerMessage;

/// What goes first when the queue is full, in this order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    Answer = 0,
    Block = 1,
    Other = 2,
}

impl Class {
    pub fn of(message: &PeerMessage) -> Self {
        match message {
            PeerMessage::Blocks(_) | PeerMessage::StateAnswer { .. } => Self::Answer,
            PeerMessage::Block(_) => Self::Block,
            _ => Self::Other,
        }
    }
}

/// One message in the queue. Messages to many peers share their bytes.
pub struct Queued {
    pub bytes: Arc<[u8]>,
    /// Not to be sent earlier: the artificial delay of test links.
    pub due: Instant,
    number: u64,
}

#[derive(Default)]
pub struct Outbox {
    queues: Mutex<Queues>,
    filled: Notify,
}

#[derive(Default)]
struct Queues {
    classes: [VecDeque<Queued>; 3],
    bytes: usize,
    dropped: u64,
    next_number: u64,
}

impl Outbox {
    /// Adds a message, at the expense of older ones if the queue is full.
    pub fn push(&self, class: Class, bytes: Arc<[u8]>, due: Instant) {
        self.lock().push(class, bytes, due);
        self.filled.notify_one();
    }

    /// The oldest message, once there is one.
    pub async fn pop(&self) -> Queued {
        loop {
            if let Some(message) = self.try_pop() {
                return message;
            }
            self.filled.notified().await;
        }
    }

    fn try_pop(&self) -> Option<Queued> {
        self.lock().pop(|_| true)
    }

    /// The oldest message, if there is one and it is due.
    pub fn try_pop_due(&self, now: Instant) -> Option<Queued> {
        self.lock().pop(|message| message.due <= now)
    }

    /// Bytes and messages in the queue, and messages dropped so far.
    pub fn measure(&self) -> (usize, usize, u64) {
        let queues = self.lock();
        (queues.bytes, queues.classes.iter().map(VecDeque::len).sum(), queues.dropped)
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().expect("no panic while the queue is locked")
    }
}

impl Queues {
    fn push(&mut self, class: Class, bytes: Arc<[u8]>, due: Instant) {
        self.bytes += cost(&bytes);
        let number = self.next_number;
        self.next_number += 1;
        self.classes[class as usize].push_back(Queued { bytes, due, number });
        while self.bytes > OUTBOX_BYTES {
            let victim = self.classes.iter_mut().find_map(VecDeque::pop_front).expect("bytes are of some message");
            self.bytes -= cost(&victim.bytes);
            self.dropped += 1;
        }
    }

    fn pop(&mut self, is_wanted: impl FnOnce(&Queued) -> bool) -> Option<Queued> {
        let first = |queue: &&mut VecDeque<Queued>| queue.front().map_or(u64::MAX, |message| message.number);
        let oldest = self.classes.iter_mut().min_by_key(first)?;
        let message = oldest.pop_front_if(|message| is_wanted(message))?;
        self.bytes -= cost(&message.bytes);
        Some(message)
    }
}

fn cost(bytes: &[u8]) -> usize {
    bytes.len() + OUTBOX_OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(outbox: &Outbox, class: Class, tag: u8, length: usize) {
        outbox.push(class, vec![tag; length].into(), Instant::now());
    }

    fn rest(outbox: &Outbox) -> Vec<u8> {
        std::iter::from_fn(|| outbox.try_pop()).map(|message| message.bytes[0]).collect()
    }

    #[test]
    fn messages_leave_in_the_order_they_came() {
        let outbox = Outbox::default();
        for (tag, class) in [(1, Class::Other), (2, Class::Block), (3, Class::Answer), (4, Class::Other)] {
            push(&outbox, class, tag, 10);
        }
        assert_eq!(rest(&outbox), [1, 2, 3, 4]);
        assert_eq!(outbox.measure(), (0, 0, 0));
    }

    #[test]
    fn when_full_old_answers_go_first_then_old_blocks_then_the_rest() {
        let outbox = Outbox::default();
        let third = OUTBOX_BYTES / 3 - OUTBOX_OVERHEAD;
        push(&outbox, Class::Other, 1, 10);
        push(&outbox, Class::Block, 2, third);
        push(&outbox, Class::Answer, 3, third);
        push(&outbox, Class::Block, 4, third);
        assert_eq!(outbox.measure().2, 1, "the answer had to go");
        push(&outbox, Class::Block, 5, third);
        assert_eq!(outbox.measure().2, 2, "then the oldest block");
        push(&outbox, Class::Other, 6, third);
        push(&outbox, Class::Other, 7, 2 * third);
        assert_eq!(rest(&outbox), [6, 7]);
    }

    #[test]
    fn a_message_is_not_sent_before_it_is_due() {
        let outbox = Outbox::default();
        let now = Instant::now();
        outbox.push(Class::Block, vec![1].into(), now + std::time::Duration::from_millis(25));
        assert!(outbox.try_pop_due(now).is_none());
        assert!(outbox.try_pop_due(now + std::time::Duration::from_millis(25)).is_some());
    }

    #[test]
    fn bytes_never_exceed_the_cap() {
        let outbox = Outbox::default();
        for number in 0..100_000u32 {
            push(&outbox, Class::Other, 0, 1 + number as usize % 700);
            assert!(outbox.measure().0 <= OUTBOX_BYTES);
        }
    }
}
