//! An order to fork: a message that was read is the same after it is written again.
#![no_main]

use belljar_channel::ForkOrder;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|packet: &[u8]| {
    if let Some(order) = ForkOrder::decode(packet) {
        assert_eq!(order.encode(), packet);
    }
});
