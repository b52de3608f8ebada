"""Runs one program in `__main__` and finds its value. errors.py describes its error, ending.py ends
the run.

The value is the first of these that exists: the value of a top-level `return`; the result of
`main`, which is called here unless the program starts it itself, now or later; the value of the
last expression; the result of the program's own call of `main`. A program that consists only of
a lambda is called like `main`.
"""

from belljar_driver import originals as __builtins__

import builtins as public_builtins

from belljar_driver import last_line
from belljar_driver.untouched import driver_module, standard_module

_COROUTINE_CODE = 0x80  # inspect.CO_COROUTINE
_Function = type(lambda: None)


async def _sample():
    pass


_Coroutine = type(_unused := _sample())
_unused.close()


class Program:
    """One program: its source, its module, and the facts about `main` that its run has shown."""

    def __init__(self, path, module, parameters, on_result, note):
        self.path = path
        self.note = note
        self.namespace = module.__dict__
        self.parameters = parameters
        #: Called with a result that is available while a loop of asyncio still waits for something
        #: else.
        self.on_result = on_result
        with open(path, "rb") as file:
            self.source = file.read()
        self.main_began = False
        self.main_returned = None
        self.notes_main = False
        #: The line in which the program starts `main` itself, now or later. In that case it is not
        #: called here.
        self.starts_main_at = None
        #: Whether the value is that of the last expression, which the program did not return
        #: explicitly.
        self.is_last_expression = False

    def run(self):
        """Returns the value of the program. Its exceptions are raised unchanged."""
        if b"In [" in self.source and driver_module("habits").has_prompts(self.source):
            self._leave_habits()
        parts = last_line.compile_program(self.source, self.path)
        if parts is None:
            return self._run_rewritten()
        body, expression = parts
        exec(body, self.namespace)
        last = eval(expression, self.namespace)
        if type(last) is _Function and last_line.is_lambda(last, body, expression):
            return self._settled(self._call(last))
        self.namespace[last_line.VALUE] = last
        return self._settled(self._value(None))

    def _run_rewritten(self):
        source_code = driver_module("source")
        try:
            code, facts = source_code.compile_program(self.source, self.path)
        except SyntaxError as error:
            # Raised below, where it has no other error as context, unless the source turns out to be
            # a notebook cell or similar and is read again.
            failure = error
        else:
            failure = None
        if failure is not None:
            if self._leave_habits():
                return self.run()
            raise failure
        self.notes_main, self.starts_main_at = facts.notes_main, facts.starts_main_at
        if facts.notes_main:
            setattr(public_builtins, source_code.MAIN_BEGAN, self._main_begins)
            setattr(public_builtins, source_code.MAIN_RETURNED, self._main_returns)
        returned, waits = self._execute(code, source_code.PROGRAM)
        if waits:
            is_settled, returned = self._wait_for(self._finish_waiting(returned))
            if is_settled:
                return returned
        if facts.is_lambda:
            return self._settled(self._call(self.namespace.pop(last_line.VALUE)))
        return self._settled(self._value(returned))

    def _leave_habits(self):
        """Removes the habits of notebooks, shells and chats from the source. Returns whether
        there were any."""
        plain = driver_module("habits").plain(self.source)
        if plain is None or plain.source == self.source:
            return False
        self.source = plain.source
        for words in plain.notes:
            self.note(words)
        return True

    def _execute(self, code, name):
        """Runs the code of the module. Returns its result, and whether that is a coroutine in
        which the module still has to run."""
        namespace = self.namespace
        if code.co_flags & _COROUTINE_CODE:
            return eval(code, namespace), True
        exec(code, namespace)
        function = namespace.pop(name, None)
        if function is None:
            return None, False
        names = {"co_name": "<module>"}
        if hasattr(code, "co_qualname"):
            names["co_qualname"] = "<module>"
        function.__code__ = function.__code__.replace(**names)
        return function(), bool(function.__code__.co_flags & _COROUTINE_CODE)

    async def _finish_waiting(self, module):
        """Runs a program with top-level `await`. An async `main` is awaited in the same loop, to
        which the program's objects belong. Any other `main` is called after the loop, because it
        may run a loop of its own. Returns whether the value was found, and the value or the
        result of the program."""
        returned = await module
        main = self._pending_main()
        if returned is not None or not getattr(getattr(main, "__code__", None), "co_flags", 0) & _COROUTINE_CODE:
            result = self.namespace.get(last_line.VALUE) if returned is None else returned
            if main is None and result is not None:
                self.on_result(result)
            return False, returned
        return True, await self._result_of(self._call(main))

    def _pending_main(self):
        """Returns `main` if Belljar has to call it."""
        if self.main_began or self.starts_main_at is not None:
            return None
        main = self.namespace.get("main")
        return main if callable(main) and not isinstance(main, type) else None

    def _call(self, function):
        return driver_module("call").call_main(function, self.parameters)

    def _value(self, returned):
        last = self.namespace.pop(last_line.VALUE, None)
        if returned is not None:
            return returned
        main = self._pending_main()
        if main is not None:
            return self._call(main)
        if last is not None:
            self.is_last_expression = True
            return last
        return self.main_returned

    def _main_begins(self):
        self.main_began = True

    def _main_returns(self, value):
        self.main_began = True
        if type(value) is not _Coroutine:
            self.main_returned = value
            return value
        return self._main_awaited(value)

    async def _main_awaited(self, coroutine):
        value = await coroutine
        self.main_returned = value
        self.on_result(value)
        return value

    def _settled(self, value):
        return self._wait_for(self._result_of(value)) if type(value) is _Coroutine else value

    async def _result_of(self, coroutine):
        value = await coroutine
        self.on_result(value)
        return value

    def _wait_for(self, coroutine):
        return standard_module("asyncio").run(coroutine)

    def main_was_left_alone(self):
        """Returns whether the program was expected to start its `main`, and did not."""
        return self.notes_main and self.starts_main_at is not None and not self.main_began
