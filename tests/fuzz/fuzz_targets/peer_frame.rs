//! Any bytes as frames of a link: `cargo +nightly fuzz run --fuzz-dir tests/fuzz peer_frame`.
#![no_main]

use torrens::peer::frame::Frame;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut link = bytes;
    while let Ok(frame) = runtime.block_on(Frame::read(&mut link)) {
        let mut again = Vec::new();
        frame.write(&mut again);
        assert_eq!(runtime.block_on(Frame::read(&mut again.as_slice())).unwrap(), frame);
    }
});
