//! The event loop of a program: the end of the loop, calls from the loop, and a timer of the
//! driver.

use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use super::api::{
    AsyncContext, Bound, CallbackInfo, CallbackScopeRoom, Env, MAIN_CONTEXT, Value, bound,
};
use super::call::call;

/// Set if this process was forked from a zygote, and therefore has no worker threads.
static FORKED: AtomicBool = AtomicBool::new(false);

/// The event loop of the main thread, or null before `start()`.
static LOOP: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());

/// Records that this process was forked from a zygote.
pub(super) fn note_fork() {
    FORKED.store(true, Ordering::Relaxed);
}

/// Sets the event loop of the main thread. Returns false if it was already set.
pub(super) fn set_main(event_loop: *mut c_void) -> bool {
    LOOP.swap(event_loop, Ordering::Relaxed).is_null()
}

/// The timer that keeps the loop running, and the callback for a loop that is otherwise idle. Both
/// live as long as the process.
struct Idle {
    env: Env,
    timer: *mut c_void,
    callback: *mut c_void,
    isolate: *mut c_void,
    /// Null in a fork, which has no worker threads.
    platform: *mut c_void,
}

static IDLE: AtomicPtr<Idle> = AtomicPtr::new(ptr::null_mut());

/// The kind of a prepare handle in `uv.h`, unchanged since libuv 1.0.
const UV_PREPARE: i32 = 9;
/// The kind of a timer in `uv.h`, unchanged since libuv 1.0.
const UV_TIMER: i32 = 13;

/// Returns the isolate of this thread and the platform that runs its tasks, or null if they are not
/// available.
fn platform(node: &Bound) -> (*mut c_void, *mut c_void) {
    let absent = (ptr::null_mut(), ptr::null_mut());
    let Some(tasks) = &node.tasks else { return absent };
    // SAFETY: called from JavaScript, so there are an isolate, a context and a scope for its
    // handle; each is checked.
    unsafe {
        let isolate = (tasks._ZN2v87Isolate10GetCurrentEv)();
        let context = if isolate.is_null() {
            isolate
        } else {
            (tasks._ZN2v87Isolate17GetCurrentContextEv)(isolate)
        };
        if context.is_null() {
            return absent;
        }
        let environment =
            (tasks._ZN4node21GetCurrentEnvironmentEN2v85LocalINS0_7ContextEEE)(context);
        if environment.is_null() {
            return absent;
        }
        (isolate, (tasks._ZN4node23GetMultiIsolatePlatformEPNS_11EnvironmentE)(environment))
    }
}

/// Returns whether anything except the timer of [`Idle`] keeps the loop running.
fn anything_else_alive(node: &Bound) -> bool {
    let (event_loop, idle) = (LOOP.load(Ordering::Relaxed), IDLE.load(Ordering::Relaxed));
    if event_loop.is_null() || idle.is_null() {
        return true;
    }
    // SAFETY: loop and timer live as long as the process, and this is their thread.
    unsafe {
        (node.uv.uv_unref)((*idle).timer);
        let alive = (node.uv.uv_loop_alive)(event_loop);
        (node.uv.uv_ref)((*idle).timer);
        alive != 0
    }
}

unsafe extern "C" fn never(_timer: *mut c_void) {}

unsafe extern "C" fn before_turn(_prepare: *mut c_void) {
    let Some(node) = bound() else { return };
    // A function that has run may have requested another one, and left nothing that keeps the loop
    // running.
    loop {
        let later = LATER.swap(ptr::null_mut(), Ordering::Relaxed);
        if !later.is_null() {
            // SAFETY: boxed by `run_from_loop`, and taken only by this thread.
            unsafe { Box::from_raw(later) }.run(node);
        } else if !call_if_idle(node) || LATER.load(Ordering::Relaxed).is_null() {
            return;
        }
    }
}

/// Calls the driver if nothing keeps the loop running. Returns whether it did.
fn call_if_idle(node: &Bound) -> bool {
    let idle = IDLE.load(Ordering::Relaxed);
    if idle.is_null() || anything_else_alive(node) {
        return false;
    }
    // SAFETY: both live as long as the process, and this is their thread.
    let (isolate, platform) = unsafe { ((*idle).isolate, (*idle).platform) };
    if let Some(tasks) = node.tasks.as_ref().filter(|_| !platform.is_null()) {
        // SAFETY: as above. Node makes the same call at this point.
        unsafe { (tasks._ZN4node12NodePlatform10DrainTasksEPN2v87IsolateE)(platform, isolate) };
        if !LATER.load(Ordering::Relaxed).is_null() {
            return true;
        }
        if anything_else_alive(node) {
            return false;
        }
    }
    let api = &node.api;
    // SAFETY: the reference lives as long as the process, this is the loop's thread, and a handle
    // scope surrounds the call.
    unsafe {
        let (env, mut scope) = ((*idle).env, ptr::null_mut());
        (api.napi_open_handle_scope)(env, &raw mut scope);
        let mut callback = ptr::null_mut();
        (api.napi_get_reference_value)(env, (*idle).callback, &raw mut callback);
        call_steps(node, env, None, callback, None);
        (api.napi_close_handle_scope)(env, scope);
    }
    true
}

/// A function of the program that the loop is to call.
struct Later {
    env: Env,
    first: *mut c_void,
    next: *mut c_void,
}

static LATER: AtomicPtr<Later> = AtomicPtr::new(ptr::null_mut());

impl Later {
    fn run(self, node: &Bound) {
        let api = &node.api;
        // SAFETY: the references belong to this value, this is the loop's thread, and a handle
        // scope surrounds the calls.
        unsafe {
            let (mut scope, mut first, mut next) =
                (ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
            (api.napi_open_handle_scope)(self.env, &raw mut scope);
            (api.napi_get_reference_value)(self.env, self.first, &raw mut first);
            (api.napi_get_reference_value)(self.env, self.next, &raw mut next);
            (api.napi_delete_reference)(self.env, self.first);
            (api.napi_delete_reference)(self.env, self.next);
            call_steps(node, self.env, Some(first), next, Some(MAIN_CONTEXT));
            (api.napi_close_handle_scope)(self.env, scope);
        }
    }
}

/// Calls functions of the program from the loop, as Node would: with no frame of the driver beneath
/// them. Then runs the microtasks and ticks that they have queued.
///
/// # Safety
/// Must be called on the loop's thread, within the handle scope of the functions.
unsafe fn call_steps(
    node: &Bound,
    env: Env,
    first: Option<Value>,
    next: Value,
    context: Option<AsyncContext>,
) {
    let api = &node.api;
    // SAFETY: the caller's promise; results are writable, and the space is larger than a scope.
    unsafe {
        let mut stepper = ptr::null_mut();
        (api.napi_create_function)(env, ptr::null(), 0, steps, ptr::null_mut(), &raw mut stepper);
        let arguments = [next, first.unwrap_or(ptr::null_mut())];
        let count = if first.is_some() { 2 } else { 1 };
        let Some((scopes, context)) = node.scopes.as_ref().zip(context) else {
            // The function is its own receiver: Node's domains read the property `domain` of the
            // receiver, and on the global object that name belongs to the program.
            (api.napi_make_callback)(
                env,
                ptr::null_mut(),
                stepper,
                stepper,
                count,
                arguments.as_ptr(),
                ptr::null_mut(),
            );
            return;
        };
        let mut space = CallbackScopeRoom([0; 256]);
        let scope = (&raw mut space).cast::<c_void>();
        let isolate = (scopes._ZN2v87Isolate10GetCurrentEv)();
        (scopes
            ._ZN4node13CallbackScopeC1EPN2v87IsolateENS1_5LocalINS1_6ObjectEEENS_13async_contextE)(
            scope, isolate, stepper, context,
        );
        (api.napi_call_function)(env, stepper, stepper, count, arguments.as_ptr(), ptr::null_mut());
        (scopes._ZN4node13CallbackScopeD1Ev)(scope);
    }
}

/// Takes `(next, first?)`: calls `first`, then `next(threw, value)` with its result. If `next`
/// returns a function, calls that in the same way, and so on. A native function has no frame in a
/// JavaScript stack, so the functions that it calls have no frame of the driver beneath them.
unsafe extern "C" fn steps(env: Env, info: CallbackInfo) -> Value {
    // SAFETY: Node's own call; results are writable.
    unsafe {
        call(env, info, |call| {
            let (api, [next, first, ..]) = (&call.node.api, call.arguments);
            let mut step = call.is_function(first).then_some(first);
            loop {
                let (mut threw, mut value) = (false, call.undefined());
                if let Some(step) = step {
                    (threw, value) = call.invoke(call.undefined(), step, &[]);
                }
                let (failed, wanted) =
                    call.invoke(call.undefined(), next, &[call.boolean(threw), value]);
                if failed {
                    (api.napi_fatal_exception)(env, wanted);
                    return call.undefined();
                }
                if !call.is_function(wanted) {
                    return call.undefined();
                }
                step = Some(wanted);
            }
        })
    }
}

/// Implements `runFromLoop(first, next)`: the loop calls `first` before its next turn, and `next`
/// as in [`steps`].
pub(super) unsafe extern "C" fn run_from_loop(env: Env, info: CallbackInfo) -> Value {
    // SAFETY: Node's own call; results are writable.
    unsafe {
        call(env, info, |call| {
            if IDLE.load(Ordering::Relaxed).is_null() || !LATER.load(Ordering::Relaxed).is_null() {
                return call
                    .throw("runFromLoop() works after onIdle(), for one function at a time");
            }
            let later = Later { env, first: call.reference(0), next: call.reference(1) };
            LATER.store(Box::into_raw(Box::new(later)), Ordering::Relaxed);
            call.undefined()
        })
    }
}

/// A timer that calls the driver once, independent of the program's timers. It does not keep the
/// loop running.
struct Wake {
    env: Env,
    timer: *mut c_void,
    callback: *mut c_void,
}

static WAKE: AtomicPtr<Wake> = AtomicPtr::new(ptr::null_mut());

unsafe extern "C" fn wake(_timer: *mut c_void) {
    let (Some(node), wake) = (bound(), WAKE.load(Ordering::Relaxed)) else { return };
    if wake.is_null() {
        return;
    }
    let api = &node.api;
    // SAFETY: the value lives as long as the process, this is the loop's thread, and a handle scope
    // surrounds the call.
    unsafe {
        let (mut scope, mut callback) = (ptr::null_mut(), ptr::null_mut());
        (api.napi_open_handle_scope)((*wake).env, &raw mut scope);
        (api.napi_get_reference_value)((*wake).env, (*wake).callback, &raw mut callback);
        (api.napi_make_callback)(
            (*wake).env,
            ptr::null_mut(),
            callback,
            callback,
            0,
            ptr::null(),
            ptr::null_mut(),
        );
        (api.napi_close_handle_scope)((*wake).env, scope);
    }
}

/// Implements `wakeLater(ms, callback)`: the loop calls back after that time, if it is still
/// running. A later call replaces the time of an earlier one; the callback stays that of the first
/// call.
pub(super) unsafe extern "C" fn wake_later(env: Env, info: CallbackInfo) -> Value {
    // SAFETY: Node's own call.
    unsafe {
        call(env, info, |call| {
            let (uv, event_loop) = (&call.node.uv, LOOP.load(Ordering::Relaxed));
            if event_loop.is_null() {
                return call.throw("wakeLater() works in the main thread, after start()");
            }
            let mut wake_up = WAKE.load(Ordering::Relaxed);
            if wake_up.is_null() {
                // SAFETY: zeroed memory of the size that libuv requires, which is never freed.
                let timer = libc::calloc(1, (uv.uv_handle_size)(UV_TIMER));
                (uv.uv_timer_init)(event_loop, timer);
                wake_up = Box::into_raw(Box::new(Wake { env, timer, callback: call.reference(1) }));
                WAKE.store(wake_up, Ordering::Relaxed);
            }
            (uv.uv_timer_start)((*wake_up).timer, wake, u64::from(call.number(0)), 0);
            (uv.uv_unref)((*wake_up).timer);
            call.undefined()
        })
    }
}

/// Implements `onIdle(callback)`. Node's own teardown at the end of the loop joins threads that a
/// forked child does not have. Therefore an endless timer keeps the loop running, and each turn
/// begins with a check whether anything else would.
pub(super) unsafe extern "C" fn on_idle(env: Env, info: CallbackInfo) -> Value {
    // SAFETY: Node's own call.
    unsafe {
        call(env, info, |call| {
            let (uv, event_loop) = (&call.node.uv, LOOP.load(Ordering::Relaxed));
            if event_loop.is_null() || !IDLE.load(Ordering::Relaxed).is_null() {
                return call.throw("onIdle() works once, in the main thread, after start()");
            }
            // SAFETY: the handles get zeroed memory of the size that libuv requires, which is never
            // freed; results are writable.
            let timer = libc::calloc(1, (uv.uv_handle_size)(UV_TIMER));
            let prepare = libc::calloc(1, (uv.uv_handle_size)(UV_PREPARE));
            let callback = call.reference(0);
            let (isolate, platform) = if FORKED.load(Ordering::Relaxed) {
                (ptr::null_mut(), ptr::null_mut())
            } else {
                platform(call.node)
            };
            IDLE.store(
                Box::into_raw(Box::new(Idle { env: call.env, timer, callback, isolate, platform })),
                Ordering::Relaxed,
            );
            (uv.uv_timer_init)(event_loop, timer);
            (uv.uv_timer_start)(timer, never, 1 << 40, 1 << 40);
            (uv.uv_prepare_init)(event_loop, prepare);
            (uv.uv_prepare_start)(prepare, before_turn);
            (uv.uv_unref)(prepare);
            call.undefined()
        })
    }
}

pub(super) unsafe extern "C" fn alive(env: Env, info: CallbackInfo) -> Value {
    // SAFETY: Node's own call.
    unsafe { call(env, info, |call| call.boolean(anything_else_alive(call.node))) }
}
