//! The interface to `CPython`: an extension module, and the fork hooks of `CPython`.

use std::ffi::{CStr, CString, c_char, c_int, c_long, c_void};
use std::io;
use std::os::fd::IntoRawFd;
use std::ptr;
use std::sync::OnceLock;

use belljar_channel::ExecutionId;
use belljar_jail::SetupError;

use crate::fork_hooks::ForkHooks;
use crate::symbols::{find, table};
use crate::{fork_identity, randomness, sandbox, scratch, threads, zygote};

type Object = *mut c_void;
type Method = unsafe extern "C" fn(Object, Object) -> Object;

table! {
    /// The parts of `CPython`'s stable interface that are used.
    struct PythonApi {
        PyModule_Create2: fn(*mut ModuleDefinition, c_int) -> Object,
        PyTuple_GetItem: fn(Object, isize) -> Object,
        PyTuple_Size: fn(Object) -> isize,
        PyLong_AsLong: fn(Object) -> c_long,
        PyLong_FromLong: fn(c_long) -> Object,
        PyObject_IsTrue: fn(Object) -> c_int,
        PyUnicode_AsUTF8AndSize: fn(Object, *mut isize) -> *const c_char,
        PyUnicode_FromStringAndSize: fn(*const c_char, isize) -> Object,
        PyBytes_AsStringAndSize: fn(Object, *mut *mut c_char, *mut isize) -> c_int,
        PyBytes_FromStringAndSize: fn(*const c_char, isize) -> Object,
        PyErr_SetString: fn(Object, *const c_char),
        PyErr_Clear: fn(),
        Py_IncRef: fn(Object),
        PyOS_BeforeFork: fn(),
        PyOS_AfterFork_Parent: fn(),
        PyOS_AfterFork_Child: fn(),
    }
}

/// The C type `PyMethodDef`, a function of a module.
#[repr(C)]
struct MethodDefinition {
    name: *const c_char,
    method: Option<Method>,
    flags: c_int,
    doc: *const c_char,
}

/// The C type `PyModuleDef`. The first four fields are `PyModuleDef_Base`; unused fields are zero.
#[repr(C)]
struct ModuleDefinition {
    reference_count: isize,
    kind: *mut c_void,
    init: *mut c_void,
    index: isize,
    copy: *mut c_void,
    name: *const c_char,
    doc: *const c_char,
    size: isize,
    methods: *mut MethodDefinition,
    slots: *mut c_void,
    traverse: *mut c_void,
    clear: *mut c_void,
    free: *mut c_void,
}

struct Bound {
    api: PythonApi,
    none: Object,
    os_error: *const Object,
}

// SAFETY: addresses of functions and of immortal objects; they are used under the interpreter's
// lock.
unsafe impl Send for Bound {}
// SAFETY: as above.
unsafe impl Sync for Bound {}

static BOUND: OnceLock<Option<Bound>> = OnceLock::new();

fn bound() -> Option<&'static Bound> {
    BOUND
        .get_or_init(|| {
            Some(Bound {
                api: PythonApi::load()?,
                none: find(c"_Py_NoneStruct")?,
                os_error: find(c"PyExc_OSError")?.cast(),
            })
        })
        .as_ref()
}

/// A call from Python: its arguments, a tuple.
struct Call {
    python: &'static Bound,
    arguments: Object,
}

impl Call {
    fn argument(&self, index: isize) -> Object {
        // SAFETY: a tuple; the index is checked against its size.
        unsafe {
            if index < (self.python.api.PyTuple_Size)(self.arguments) {
                (self.python.api.PyTuple_GetItem)(self.arguments, index)
            } else {
                ptr::null_mut()
            }
        }
    }

    fn number(&self, index: isize) -> u32 {
        let argument = self.argument(index);
        if argument.is_null() {
            return 0;
        }
        // SAFETY: a live object. For anything but a number, the result is -1 and an error is set,
        // which is cleared below.
        let number = unsafe { (self.python.api.PyLong_AsLong)(argument) };
        if number < 0 {
            // SAFETY: no arguments.
            unsafe { (self.python.api.PyErr_Clear)() };
        }
        u32::try_from(number).unwrap_or(0)
    }

    fn truth(&self, index: isize) -> bool {
        let argument = self.argument(index);
        // SAFETY: a live object.
        !argument.is_null() && unsafe { (self.python.api.PyObject_IsTrue)(argument) } == 1
    }

    /// Returns the content of a `bytes` argument, or the UTF-8 of a `str`.
    fn bytes(&self, index: isize) -> Option<&[u8]> {
        let argument = self.argument(index);
        if argument.is_null() {
            return None;
        }
        let (mut data, mut length) = (ptr::null_mut(), 0);
        // SAFETY: results are writable; the memory belongs to the argument, which outlives the
        // call.
        unsafe {
            if (self.python.api.PyBytes_AsStringAndSize)(argument, &raw mut data, &raw mut length)
                == 0
            {
                return Some(std::slice::from_raw_parts(data.cast::<u8>(), length as usize));
            }
            (self.python.api.PyErr_Clear)();
            let text = (self.python.api.PyUnicode_AsUTF8AndSize)(argument, &raw mut length);
            if text.is_null() {
                (self.python.api.PyErr_Clear)();
                return None;
            }
            Some(std::slice::from_raw_parts(text.cast::<u8>(), length as usize))
        }
    }

    fn none(&self) -> Object {
        // SAFETY: `None` is a live object.
        unsafe { (self.python.api.Py_IncRef)(self.python.none) };
        self.python.none
    }

    fn throw(&self, message: &str) -> Object {
        let message = CString::new(message.replace('\0', " ")).unwrap_or_default();
        // SAFETY: the exception's class is a live object; the message is copied.
        unsafe { (self.python.api.PyErr_SetString)(*self.python.os_error, message.as_ptr()) };
        ptr::null_mut()
    }

    fn result(&self, result: io::Result<()>) -> Object {
        match result {
            Ok(()) => self.none(),
            Err(error) => self.throw(&error.to_string()),
        }
    }
}

fn call(arguments: Object, body: impl FnOnce(&Call) -> Object) -> Object {
    let Some(python) = bound() else { return ptr::null_mut() };
    body(&Call { python, arguments })
}

struct Python<'a> {
    api: &'a PythonApi,
}

impl ForkHooks for Python<'_> {
    fn prepare(&mut self) -> Result<(), SetupError> {
        Ok(())
    }

    fn before_fork(&mut self) {
        // SAFETY: the interpreter's lock is held.
        unsafe { (self.api.PyOS_BeforeFork)() };
    }

    fn after_fork_in_zygote(&mut self) {
        // SAFETY: follows `before_fork`, in the parent.
        unsafe { (self.api.PyOS_AfterFork_Parent)() };
    }

    fn after_fork_in_child(&mut self) -> Result<(), SetupError> {
        fork_identity::be_another();
        // SAFETY: follows `before_fork`, in the child.
        unsafe { (self.api.PyOS_AfterFork_Child)() };
        Ok(())
    }
}

unsafe extern "C" fn start(_module: Object, arguments: Object) -> Object {
    call(arguments, |call| {
        let role =
            zygote::start(&mut Python { api: &call.python.api }, call.bytes(0).unwrap_or_default());
        // SAFETY: takes any number.
        unsafe { (call.python.api.PyLong_FromLong)(c_long::from(role == zygote::Role::Scout)) }
    })
}

unsafe extern "C" fn become_zygote(_module: Object, arguments: Object) -> Object {
    call(arguments, |call| {
        fork_identity::be_zygote();
        call.none()
    })
}

unsafe extern "C" fn begin_imports(_module: Object, arguments: Object) -> Object {
    call(arguments, |call| {
        scratch::make();
        threads::watch();
        call.none()
    })
}

unsafe extern "C" fn receive(_module: Object, arguments: Object) -> Object {
    call(arguments, |call| match sandbox::receive() {
        Ok(activation) => {
            // SAFETY: the text is readable for its length and copied.
            unsafe {
                (call.python.api.PyUnicode_FromStringAndSize)(
                    activation.as_ptr().cast(),
                    activation.len() as isize,
                )
            }
        }
        Err(error) => sandbox::fault_text(&error.to_string()),
    })
}

unsafe extern "C" fn send(_module: Object, arguments: Object) -> Object {
    call(arguments, |call| match call.bytes(2) {
        Some(payload) => call.result(sandbox::send(call.number(0), call.number(1) as u8, payload)),
        None => call.throw("send() takes bytes or a str that can be encoded"),
    })
}

unsafe extern "C" fn end(_module: Object, arguments: Object) -> Object {
    call(arguments, |call| match call.bytes(1) {
        Some(report) => {
            sandbox::end(call.number(0), report);
            call.none()
        }
        None => call.throw("end() takes bytes or a str that can be encoded"),
    })
}

unsafe extern "C" fn execution(_module: Object, arguments: Object) -> Object {
    let running = sandbox::execution().map_or(0, ExecutionId::number);
    // SAFETY: takes any number.
    call(arguments, |call| unsafe { (call.python.api.PyLong_FromLong)(c_long::from(running)) })
}

unsafe extern "C" fn open_call(_module: Object, arguments: Object) -> Object {
    call(arguments, |call| match sandbox::open_call(call.number(0)) {
        // SAFETY: takes any number.
        Ok(Some(socket)) => unsafe {
            (call.python.api.PyLong_FromLong)(c_long::from(socket.into_raw_fd()))
        },
        Ok(None) => call.none(),
        Err(error) => call.throw(&error.to_string()),
    })
}

unsafe extern "C" fn annotate(_module: Object, arguments: Object) -> Object {
    call(arguments, |call| {
        call.result(sandbox::annotate(
            call.number(0) as u8,
            call.number(1) as u8,
            call.number(2),
            call.truth(3),
        ))
    })
}

unsafe extern "C" fn random_bytes(_module: Object, arguments: Object) -> Object {
    call(arguments, |call| match randomness::bytes(call.number(0) as usize) {
        // SAFETY: the bytes are readable for their length and copied.
        Ok(bytes) => unsafe {
            (call.python.api.PyBytes_FromStringAndSize)(bytes.as_ptr().cast(), bytes.len() as isize)
        },
        Err(error) => call.throw(&error.to_string()),
    })
}

unsafe extern "C" fn exit(_module: Object, arguments: Object) -> Object {
    call(arguments, |call| sandbox::exit(call.number(0) as i32))
}

/// The flag `METH_VARARGS`: the function takes a tuple of arguments.
const VARIADIC: c_int = 1;
/// The value `PYTHON_ABI_VERSION` of the stable interface.
const ABI_VERSION: c_int = 3;

/// The entry point that `CPython` calls: creates the module.
///
/// # Safety
/// Called by `CPython`, once, under the interpreter's lock.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn PyInit_belljar_native() -> Object {
    let Some(python) = bound() else { return ptr::null_mut() };
    let method = |name: &'static CStr, method: Method| MethodDefinition {
        name: name.as_ptr(),
        method: Some(method),
        flags: VARIADIC,
        doc: ptr::null(),
    };
    // CPython keeps pointers to both.
    let methods = Box::leak(Box::new([
        method(c"become_zygote", become_zygote),
        method(c"start", start),
        method(c"begin_imports", begin_imports),
        method(c"receive", receive),
        method(c"send", send),
        method(c"end", end),
        method(c"execution", execution),
        method(c"open_call", open_call),
        method(c"annotate", annotate),
        method(c"random_bytes", random_bytes),
        method(c"exit", exit),
        MethodDefinition { name: ptr::null(), method: None, flags: 0, doc: ptr::null() },
    ]));
    let definition = Box::leak(Box::new(ModuleDefinition {
        reference_count: 1,
        kind: ptr::null_mut(),
        init: ptr::null_mut(),
        index: 0,
        copy: ptr::null_mut(),
        name: c"belljar_native".as_ptr(),
        doc: ptr::null(),
        size: -1,
        methods: methods.as_mut_ptr(),
        slots: ptr::null_mut(),
        traverse: ptr::null_mut(),
        clear: ptr::null_mut(),
        free: ptr::null_mut(),
    }));
    // SAFETY: the definition has CPython's layout and is never freed.
    unsafe { (python.api.PyModule_Create2)(definition, ABI_VERSION) }
}
