//! A zygote's report: a message that was read is the same after it is written again.
#![no_main]

use belljar_channel::ZygoteReport;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|packet: &[u8]| {
    if let Some(report) = ZygoteReport::decode(packet) {
        assert_eq!(report.encode(), packet);
    }
});
