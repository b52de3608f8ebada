//! Compiles a table of rules to classic BPF: a balanced tree of system call numbers, with a short
//! list of comparisons at each leaf that needs one. A linear list of the same rules takes twice as
//! long to load and to evaluate (measured: `docs/concepts/jail.md`).

/// The effect of a rule on a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The kernel executes the call.
    Allow,
    /// The call fails with this errno.
    Errno(u16),
    /// The process's own handler of SIGSYS replaces the kernel.
    Trap,
    /// The call succeeds without any effect, which is correct for advice.
    Ignore,
    /// The process is killed by SIGSYS.
    Kill,
}

impl Action {
    fn encoded(self) -> u32 {
        match self {
            Self::Allow => libc::SECCOMP_RET_ALLOW,
            Self::Errno(errno) => libc::SECCOMP_RET_ERRNO | u32::from(errno),
            Self::Trap => libc::SECCOMP_RET_TRAP,
            Self::Ignore => libc::SECCOMP_RET_ERRNO,
            Self::Kill => libc::SECCOMP_RET_KILL_PROCESS,
        }
    }
}

/// A condition `argument & mask == value` on the lower 32 bits of an argument: every compared
/// argument is an `int` or smaller in the kernel, or has all its defined bits there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Index of the argument, from 0.
    pub argument: u8,
    /// Bits to compare.
    pub mask: u32,
    /// Required value of these bits.
    pub value: u32,
}

impl Condition {
    /// Returns the condition `argument == value`.
    pub(super) fn equal(argument: u8, value: u32) -> Self {
        Self { argument, mask: u32::MAX, value }
    }

    /// Returns the condition `argument & mask == value`.
    pub(super) fn bits(argument: u8, mask: u32, value: u32) -> Self {
        Self { argument, mask, value }
    }

    /// Returns the number of instructions: load, mask and compare. A comparison of the whole
    /// argument needs no mask.
    fn instructions(self) -> usize {
        if self.mask == u32::MAX { 2 } else { 3 }
    }
}

/// The rule for a system call: the first case whose conditions hold decides, else `otherwise`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Number of the system call.
    pub number: u32,
    /// Cases with their actions. All conditions of a case must hold.
    pub cases: Vec<(Vec<Condition>, Action)>,
    /// Action if no case applies.
    pub otherwise: Action,
}

impl Rule {
    /// Returns rules that apply one action to each of these system calls, whatever the arguments.
    pub(super) fn plain(numbers: &[libc::c_long], action: Action) -> impl Iterator<Item = Self> {
        numbers.iter().map(move |&number| Self {
            number: number as u32,
            cases: Vec::new(),
            otherwise: action,
        })
    }

    /// Returns a rule in which the first case whose conditions all hold decides.
    pub(super) fn by_argument(
        number: libc::c_long,
        cases: Vec<(Vec<Condition>, Action)>,
        otherwise: Action,
    ) -> Self {
        Self { number: number as u32, cases, otherwise }
    }

    /// Returns a rule that allows a call if an argument has one of these values.
    pub(super) fn one_of(
        number: libc::c_long,
        argument: u8,
        values: &[u32],
        otherwise: Action,
    ) -> Self {
        let allowed =
            values.iter().map(|&value| (vec![Condition::equal(argument, value)], Action::Allow));
        Self::by_argument(number, allowed.collect(), otherwise)
    }

    /// Returns a rule that allows a call if none of these bits is set in an argument.
    pub(super) fn without_bits(
        number: libc::c_long,
        argument: u8,
        mask: u32,
        otherwise: Action,
    ) -> Self {
        Self::by_argument(
            number,
            vec![(vec![Condition::bits(argument, mask, 0)], Action::Allow)],
            otherwise,
        )
    }
}

/// A complete filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Rules, at most one per system call.
    pub rules: Vec<Rule>,
    /// Action for every other system call.
    pub default: Action,
}

/// A BPF instruction with the layout of `struct sock_filter`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    code: u16,
    jump_true: u8,
    jump_false: u8,
    value: u32,
}

const LOAD_WORD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_AT_LEAST: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

/// Offsets in `struct seccomp_data`.
const NUMBER_OFFSET: u32 = 0;
const ARCH_OFFSET: u32 = 4;
const fn argument_offset(argument: u8) -> u32 {
    16 + 8 * argument as u32
}

#[cfg(target_arch = "x86_64")]
const ARCH: u32 = 0xc000_003e; // AUDIT_ARCH_X86_64
#[cfg(target_arch = "aarch64")]
const ARCH: u32 = 0xc000_00b7; // AUDIT_ARCH_AARCH64

/// The first number of the x32 ABI on x86-64.
const X32_BIT: u32 = 0x4000_0000;

const fn statement(code: u16, value: u32) -> Instruction {
    Instruction { code, jump_true: 0, jump_false: 0, value }
}

const fn branch(code: u16, value: u32, jump_true: u8, jump_false: u8) -> Instruction {
    Instruction { code, jump_true, jump_false, value }
}

impl Instruction {
    /// Returns the instruction, with `to` if it compares with `from`.
    pub(super) fn comparing(self, from: u32, to: u32) -> Self {
        if self.code == JUMP_EQUAL && self.value == from {
            Self { value: to, ..self }
        } else {
            self
        }
    }
}

/// A range of system call numbers with the same action, up to the next segment.
struct Segment<'a> {
    start: u32,
    rule: Option<&'a Rule>,
    action: Action,
}

impl Filter {
    /// Returns the BPF program. System calls of another architecture, and of x32, kill the process.
    pub fn compile(&self) -> Vec<Instruction> {
        let mut program = vec![
            statement(LOAD_WORD, ARCH_OFFSET),
            branch(JUMP_EQUAL, ARCH, 1, 0),
            statement(RETURN, Action::Kill.encoded()),
            statement(LOAD_WORD, NUMBER_OFFSET),
            branch(JUMP_AT_LEAST, X32_BIT, 0, 1),
            statement(RETURN, Action::Kill.encoded()),
        ];
        program.extend(tree(&self.segments()));
        program
    }

    fn segments(&self) -> Vec<Segment<'_>> {
        let mut sorted: Vec<&Rule> = self.rules.iter().collect();
        sorted.sort_by_key(|rule| rule.number);
        let mut result: Vec<Segment<'_>> = Vec::new();
        let mut next = 0;
        for rule in sorted {
            if rule.number > next {
                append(&mut result, Segment { start: next, rule: None, action: self.default });
            }
            let conditional = (!rule.cases.is_empty()).then_some(rule);
            append(
                &mut result,
                Segment { start: rule.number, rule: conditional, action: rule.otherwise },
            );
            next = rule.number + 1;
        }
        append(&mut result, Segment { start: next, rule: None, action: self.default });
        result
    }
}

/// Adds a segment, and merges plain neighbours with the same action.
fn append<'a>(segments: &mut Vec<Segment<'a>>, segment: Segment<'a>) {
    let same_fate = segments.last().is_some_and(|last| {
        last.rule.is_none() && segment.rule.is_none() && last.action == segment.action
    });
    if !same_fate {
        segments.push(segment);
    }
}

fn tree(segments: &[Segment<'_>]) -> Vec<Instruction> {
    match segments {
        [] => Vec::new(),
        [only] => leaf(only),
        _ => {
            let (low, high) = segments.split_at(segments.len() / 2);
            let below = tree(low);
            let above = tree(high);
            // Conditional jumps can skip 255 instructions, unconditional ones any number.
            let mut code = match u8::try_from(below.len()) {
                Ok(distance) => vec![branch(JUMP_AT_LEAST, high[0].start, distance, 0)],
                Err(_) => vec![
                    branch(JUMP_AT_LEAST, high[0].start, 0, 1),
                    statement(JUMP, below.len() as u32),
                ],
            };
            code.extend(below);
            code.extend(above);
            code
        }
    }
}

fn leaf(segment: &Segment<'_>) -> Vec<Instruction> {
    let mut code = Vec::new();
    for (conditions, action) in segment.rule.map_or(&[][..], |rule| &rule.cases) {
        // A failed comparison skips the rest of the case, including its return.
        let mut rest =
            conditions.iter().map(|condition| condition.instructions()).sum::<usize>() + 1;
        for condition in conditions {
            rest -= condition.instructions();
            code.push(statement(LOAD_WORD, argument_offset(condition.argument)));
            if condition.mask != u32::MAX {
                code.push(statement(AND, condition.mask));
            }
            code.push(branch(JUMP_EQUAL, condition.value, 0, rest as u8));
        }
        code.push(statement(RETURN, action.encoded()));
    }
    code.push(statement(RETURN, segment.action.encoded()));
    code
}

/// The input of a filter: a system call with its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyscallData {
    /// Number of the system call.
    pub number: u32,
    /// Arguments of the system call.
    pub arguments: [u64; 6],
}

/// Runs a compiled program on a system call of this architecture, as the kernel would. Returns the
/// encoded action, or `None` for a program that the kernel would not load.
pub fn evaluate(program: &[Instruction], data: &SyscallData) -> Option<u32> {
    let mut accumulator = 0_u32;
    let mut at = 0_usize;
    while let Some(&Instruction { code, jump_true, jump_false, value }) = program.get(at) {
        at += 1;
        match code {
            LOAD_WORD => {
                accumulator = match value {
                    NUMBER_OFFSET => data.number,
                    ARCH_OFFSET => ARCH,
                    offset => *data.arguments.get((offset.checked_sub(16)? / 8) as usize)? as u32,
                }
            }
            AND => accumulator &= value,
            JUMP => at += value as usize,
            JUMP_EQUAL => {
                at += usize::from(if accumulator == value { jump_true } else { jump_false });
            }
            JUMP_AT_LEAST => {
                at += usize::from(if accumulator >= value { jump_true } else { jump_false });
            }
            RETURN => return Some(value),
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn expected(filter: &Filter, data: &SyscallData) -> Action {
        if data.number >= X32_BIT {
            return Action::Kill;
        }
        let Some(rule) = filter.rules.iter().find(|rule| rule.number == data.number) else {
            return filter.default;
        };
        let holds = |condition: &Condition| {
            data.arguments[usize::from(condition.argument)] as u32 & condition.mask
                == condition.value
        };
        rule.cases
            .iter()
            .find(|(conditions, _)| conditions.iter().all(holds))
            .map_or(rule.otherwise, |(_, action)| *action)
    }

    fn action() -> impl Strategy<Value = Action> {
        prop_oneof![
            Just(Action::Allow),
            (1_u16..200).prop_map(Action::Errno),
            Just(Action::Trap),
            Just(Action::Ignore),
            Just(Action::Kill)
        ]
    }

    fn condition() -> impl Strategy<Value = Condition> {
        (0_u8..6, prop_oneof![0_u32..8, Just(u32::MAX)], 0_u32..8)
            .prop_map(|(argument, mask, value)| Condition { argument, mask, value })
    }

    fn filter() -> impl Strategy<Value = Filter> {
        let cases = proptest::collection::vec(
            (proptest::collection::vec(condition(), 1..4), action()),
            0..4,
        );
        let rules = proptest::collection::btree_map(0_u32..460, (cases, action()), 0..200);
        (rules, action()).prop_map(|(rules, default)| Filter {
            rules: rules
                .into_iter()
                .map(|(number, (cases, otherwise))| Rule { number, cases, otherwise })
                .collect(),
            default,
        })
    }

    proptest! {
        #[test]
        fn the_program_decides_as_the_table_says(
            filter in filter(),
            calls in proptest::collection::vec(
                (
                    prop_oneof![0_u32..470, any::<u32>()],
                    proptest::array::uniform6(0_u64..16),
                ),
                1..100,
            ),
        ) {
            let program = filter.compile();
            prop_assert!(program.len() < 4096);
            for (number, arguments) in calls {
                let data = SyscallData { number, arguments };
                let expected = expected(&filter, &data).encoded();
                prop_assert_eq!(evaluate(&program, &data), Some(expected));
            }
        }
    }
}
