//! Functions of the module about this process: start, activation, reports, and exit.

use std::ffi::c_void;
use std::os::fd::IntoRawFd;
use std::ptr;

use belljar_channel::ExecutionId;
use belljar_jail::{SetupError, Step};

use super::api::{CallbackInfo, Env, Value};
use super::call::{Call, call};
use super::event_loop;
use super::platform::{keep_heap_across_fork, report_no_workers};
use crate::fork_hooks::ForkHooks;
use crate::{heap, randomness, sandbox, scratch, threads, zygote};

/// Node as a runtime that a zygote forks.
struct Node<'a> {
    call: &'a Call,
    event_loop: *mut c_void,
}

impl ForkHooks for Node<'_> {
    fn prepare(&mut self) -> Result<(), SetupError> {
        report_no_workers()?;
        keep_heap_across_fork()
    }

    fn after_fork_in_child(&mut self) -> Result<(), SetupError> {
        // SAFETY: the loop is that of this thread, the main thread; its descriptors are replaced by
        // ones that can be closed.
        let status = unsafe { (self.call.node.uv.uv_loop_fork)(self.event_loop) };
        event_loop::note_fork();
        if status == 0 {
            Ok(())
        } else {
            Err(SetupError { step: Step::RuntimeFork, errno: -status })
        }
    }
}

pub(super) unsafe extern "C" fn start(env: Env, info: CallbackInfo) -> Value {
    // SAFETY: Node's own call.
    unsafe {
        call(env, info, |call| {
            let mut event_loop = ptr::null_mut();
            // SAFETY: the result is writable.
            let status = (call.node.api.napi_get_uv_event_loop)(call.env, &raw mut event_loop);
            if status != 0 || !event_loop::set_main(event_loop) {
                return call.throw("start() works once, in the main thread");
            }
            let role =
                zygote::start(&mut Node { call, event_loop }, &call.bytes(0).unwrap_or_default());
            call.boolean(role == zygote::Role::Scout)
        })
    }
}

pub(super) unsafe extern "C" fn begin_imports(env: Env, info: CallbackInfo) -> Value {
    // SAFETY: Node's own call.
    unsafe {
        call(env, info, |call| {
            scratch::make();
            threads::watch();
            call.undefined()
        })
    }
}

pub(super) unsafe extern "C" fn never_fork(env: Env, info: CallbackInfo) -> Value {
    // SAFETY: Node's own call.
    unsafe {
        call(env, info, |call| {
            zygote::never_fork(call.text(0).unwrap_or_default());
            call.undefined()
        })
    }
}

pub(super) unsafe extern "C" fn receive(env: Env, info: CallbackInfo) -> Value {
    // SAFETY: Node's own call.
    unsafe {
        call(env, info, |call| match sandbox::receive() {
            Ok(activation) => call.string(&activation),
            Err(error) => sandbox::fault_text(&error.to_string()),
        })
    }
}

pub(super) unsafe extern "C" fn send(env: Env, info: CallbackInfo) -> Value {
    // SAFETY: Node's own call.
    unsafe {
        call(env, info, |call| match call.bytes(2) {
            Some(payload) => {
                call.result(sandbox::send(call.number(0), call.number(1) as u8, &payload))
            }
            None => call.throw("send() takes a string or bytes"),
        })
    }
}

pub(super) unsafe extern "C" fn end(env: Env, info: CallbackInfo) -> Value {
    // SAFETY: Node's own call.
    unsafe {
        call(env, info, |call| match call.bytes(1) {
            Some(report) => {
                sandbox::end(call.number(0), &report);
                call.undefined()
            }
            None => call.throw("end() takes a string or bytes"),
        })
    }
}

pub(super) unsafe extern "C" fn execution(env: Env, info: CallbackInfo) -> Value {
    // SAFETY: Node's own call.
    unsafe {
        call(env, info, |call| call.unsigned(sandbox::execution().map_or(0, ExecutionId::number)))
    }
}

pub(super) unsafe extern "C" fn open_call(env: Env, info: CallbackInfo) -> Value {
    // SAFETY: Node's own call.
    unsafe {
        call(env, info, |call| match sandbox::open_call(call.number(0)) {
            Ok(Some(socket)) => call.unsigned(socket.into_raw_fd() as u32),
            Ok(None) => call.undefined(),
            Err(error) => call.throw(&error.to_string()),
        })
    }
}

pub(super) unsafe extern "C" fn annotate(env: Env, info: CallbackInfo) -> Value {
    // SAFETY: Node's own call.
    unsafe {
        call(env, info, |call| {
            call.result(sandbox::annotate(
                call.number(0) as u8,
                call.number(1) as u8,
                call.number(2),
                call.truth(3),
            ))
        })
    }
}

pub(super) unsafe extern "C" fn pid(env: Env, info: CallbackInfo) -> Value {
    // SAFETY: Node's own call; `getpid` cannot fail.
    unsafe { call(env, info, |call| call.unsigned(libc::getpid() as u32)) }
}

pub(super) unsafe extern "C" fn parent_pid(env: Env, info: CallbackInfo) -> Value {
    // SAFETY: Node's own call; `getppid` cannot fail.
    unsafe { call(env, info, |call| call.unsigned(libc::getppid() as u32)) }
}

/// Returns a random seed for V8. It is never 0, because V8 then uses its own source of entropy,
/// which in a fork is the generator of the zygote.
pub(super) unsafe extern "C" fn random_seed(env: Env, info: CallbackInfo) -> Value {
    // SAFETY: Node's own call.
    unsafe {
        call(env, info, |call| match randomness::number() {
            Ok(number) => call.unsigned((number & 0x7fff_ffff).max(1)),
            Err(error) => call.throw(&error.to_string()),
        })
    }
}

pub(super) unsafe extern "C" fn fit_heap(env: Env, info: CallbackInfo) -> Value {
    // SAFETY: Node's own call.
    unsafe {
        call(env, info, |call| {
            heap::fit();
            call.undefined()
        })
    }
}

/// Replaces Node's `process.constrainedMemory()`, which reads control groups. A sandbox does not
/// see them.
pub(super) unsafe extern "C" fn constrained_memory(env: Env, info: CallbackInfo) -> Value {
    // SAFETY: Node's own call.
    #[expect(clippy::cast_precision_loss, reason = "exact up to 8 PiB")]
    unsafe {
        call(env, info, |call| call.double(heap::limit_bytes() as f64))
    }
}

pub(super) unsafe extern "C" fn exit(env: Env, info: CallbackInfo) -> Value {
    // SAFETY: Node's own call.
    unsafe { call(env, info, |call| sandbox::exit(call.number(0) as i32)) }
}
