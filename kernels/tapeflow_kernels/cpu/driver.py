"""The driver: one piece of code, the same for every program, that walks a table of kernel launches.

A launch is a row `{kernel, argument block, extent, share}`. A loop or branch is a row too, of
extent -1: its kernel is a function of the driver (`turns.py`), which gets the pool and runs rows of
its own, and says whether it was stopped.
Each thread of a pool has a ticket for a part of a row's shares, the caller the first: the same part
of equal rows in every call, so that what it wrote is in its own cache still. It claims them one by
one by atomic addition, then what others have not begun, so a worker that is late or absent costs
nothing but its help, and no row waits for a thread to wake.

    ticket = generation << 40 | end of its shares << 20 | next share to claim

A claim is valid if its share is before the end that the same ticket named; while valid claims are
unfinished the caller waits in that row, so the row that the pool names is the right one.
"""

from __future__ import annotations

import functools
import platform

from ..machine import assemble, load
from . import turns

ROW = 4  # i64 words of a row
# The pool: row, finished shares, number of threads, and a ticket each, on cache lines of their own.
MAX_THREADS = 256
THREADS_WORD, _FIRST_TICKET, _LINE = 16, 24, 8
POOL_WORDS = _FIRST_TICKET + _LINE * MAX_THREADS
MAX_SHARES = 4096
STOPPED = -2  # what a run gives that was stopped

# CPython's and NumPy's objects as compiled code reads them: a list's items, an array's address and
# flags. `head` is the size of the object header.
_TEXT = """
define internal void @share(ptr %row, i64 %k) {{
  %extent.at = getelementptr i64, ptr %row, i64 2
  %share.at = getelementptr i64, ptr %row, i64 3
  %args.at = getelementptr i64, ptr %row, i64 1
  %extent = load i64, ptr %extent.at
  %share = load i64, ptr %share.at
  %args = load ptr, ptr %args.at
  %kernel = load ptr, ptr %row
  %start = mul i64 %k, %share
  %end = add i64 %start, %share
  %stop = call i64 @llvm.smin.i64(i64 %end, i64 %extent)
  call void %kernel(i64 %start, i64 %stop, ptr %args)
  ret void
}}

define internal ptr @ticket(ptr %pool, i64 %thread) {{
  %line = mul i64 %thread, {line}
  %word = add i64 %line, {first_ticket}
  %at = getelementptr i64, ptr %pool, i64 %word
  ret ptr %at
}}

; Claims one share of a ticket and does it; false if there was none to claim.
define internal i1 @claim(ptr %pool, ptr %ticket.at) {{
  %seen = load atomic i64, ptr %ticket.at acquire, align 8
  %seen.next = and i64 %seen, 1048575
  %seen.shifted = lshr i64 %seen, 20
  %seen.end = and i64 %seen.shifted, 1048575
  %open = icmp ult i64 %seen.next, %seen.end
  br i1 %open, label %try, label %none
try:
  %ticket = atomicrmw add ptr %ticket.at, i64 1 acq_rel
  %k = and i64 %ticket, 1048575
  %shifted = lshr i64 %ticket, 20
  %end = and i64 %shifted, 1048575
  %valid = icmp ult i64 %k, %end
  br i1 %valid, label %work, label %none
work:
  %row = load ptr, ptr %pool
  call void @share(ptr %row, i64 %k)
  %done.at = getelementptr i64, ptr %pool, i64 {line}
  %done = atomicrmw add ptr %done.at, i64 1 acq_rel
  ret i1 true
none:
  ret i1 false
}}

; Does what is left of each ticket, from that of `thread` on.
define internal void @help(ptr %pool, i64 %thread) {{
  %threads.at = getelementptr i64, ptr %pool, i64 {threads_word}
  %threads = load atomic i64, ptr %threads.at monotonic, align 8
  br label %loop
loop:
  %i = phi i64 [ 0, %0 ], [ %i.next, %next ]
  %more = icmp slt i64 %i, %threads
  br i1 %more, label %body, label %end
body:
  %sum = add i64 %thread, %i
  %of = urem i64 %sum, %threads
  %ticket.at = call ptr @ticket(ptr %pool, i64 %of)
  br label %work
work:
  %worked = call i1 @claim(ptr %pool, ptr %ticket.at)
  br i1 %worked, label %work, label %next
next:
  %i.next = add i64 %i, 1
  br label %loop
end:
  ret void
}}

; Hands out the shares of a row: to each of the threads those between two parts of all.
define internal void @hand_out(ptr %pool, i64 %shares) {{
  %threads.at = getelementptr i64, ptr %pool, i64 {threads_word}
  %threads = load i64, ptr %threads.at
  %first = call ptr @ticket(ptr %pool, i64 0)
  %last = load atomic i64, ptr %first monotonic, align 8
  %generation = lshr i64 %last, 40
  %following = add i64 %generation, 1
  %high = shl i64 %following, 40
  br label %loop
loop:
  %i = phi i64 [ 0, %0 ], [ %i.next, %body ]
  %begin = phi i64 [ 0, %0 ], [ %end, %body ]
  %more = icmp slt i64 %i, %threads
  br i1 %more, label %body, label %leave
body:
  %i.next = add i64 %i, 1
  %part = mul i64 %i.next, %shares
  %end = udiv i64 %part, %threads
  %middle = shl i64 %end, 20
  %low = or i64 %middle, %begin
  %ticket = or i64 %high, %low
  %ticket.at = call ptr @ticket(ptr %pool, i64 %i)
  store atomic i64 %ticket, ptr %ticket.at release, align 8
  br label %loop
leave:
  ret void
}}

define internal void @split(ptr %row, i64 %shares, ptr %pool) {{
  %done.at = getelementptr i64, ptr %pool, i64 {line}
  store ptr %row, ptr %pool
  store atomic i64 0, ptr %done.at monotonic, align 8
  call void @hand_out(ptr %pool, i64 %shares)
  call void @help(ptr %pool, i64 0)
  br label %wait
wait:
  %done = load atomic i64, ptr %done.at acquire, align 8
  %finished = icmp eq i64 %done, %shares
  br i1 %finished, label %end, label %spin
spin:
  {pause}
  br label %wait
end:
  ret void
}}

; Runs rows first to last - 1; without a pool, or where a row is one share, in this thread alone.
; Gives 0, or {stopped} where a loop was stopped: the rows behind it are not run then.
define i64 @tapeflow_run(ptr %rows, i64 %first, i64 %last, ptr %pool) {{
  %alone = icmp eq ptr %pool, null
  br label %loop
loop:
  %r = phi i64 [ %first, %0 ], [ %r.next, %next ]
  %more = icmp slt i64 %r, %last
  br i1 %more, label %body, label %end
body:
  %word = mul i64 %r, {row}
  %row = getelementptr i64, ptr %rows, i64 %word
  %extent.at = getelementptr i64, ptr %row, i64 2
  %share.at = getelementptr i64, ptr %row, i64 3
  %extent = load i64, ptr %extent.at
  %share = load i64, ptr %share.at
  %whole = icmp sge i64 %share, %extent
  %here = or i1 %whole, %alone
  br i1 %here, label %single, label %several
single:
  %args.at = getelementptr i64, ptr %row, i64 1
  %args = load ptr, ptr %args.at
  %kernel = load ptr, ptr %row
  %nested = icmp slt i64 %extent, 0
  br i1 %nested, label %nest, label %flat
flat:
  call void %kernel(i64 0, i64 %extent, ptr %args)
  br label %next
nest:
  %word.pool = ptrtoint ptr %pool to i64
  %ended = call i64 %kernel(i64 %word.pool, i64 %extent, ptr %args)
  %stopped = icmp ne i64 %ended, 0
  br i1 %stopped, label %leave, label %next
several:
  %up = add i64 %extent, %share
  %up.1 = sub i64 %up, 1
  %shares = sdiv i64 %up.1, %share
  call void @split(ptr %row, i64 %shares, ptr %pool)
  br label %next
next:
  %r.next = add i64 %r, 1
  br label %loop
leave:
  ret i64 {stopped}
end:
  ret i64 0
}}

; Helps as this thread of the pool, until its ticket was the same for `patience` looks in a row.
; Where there are more threads than tickets, some share one.
define void @tapeflow_work(ptr %pool, i64 %patience, i64 %thread) {{
  %threads.at = getelementptr i64, ptr %pool, i64 {threads_word}
  br label %loop
loop:
  %idle = phi i64 [ 0, %0 ], [ 0, %busy ], [ %idle.next, %spin ]
  %known = phi i64 [ 0, %0 ], [ %left, %busy ], [ %known, %spin ]
  %threads = load atomic i64, ptr %threads.at monotonic, align 8
  %own = urem i64 %thread, %threads
  %ticket.at = call ptr @ticket(ptr %pool, i64 %own)
  %seen = load atomic i64, ptr %ticket.at acquire, align 8
  %same = icmp eq i64 %seen, %known
  br i1 %same, label %nothing, label %busy
busy:
  call void @help(ptr %pool, i64 %own)
  %left = load atomic i64, ptr %ticket.at acquire, align 8
  br label %loop
nothing:
  %idle.next = add i64 %idle, 1
  %tired = icmp sge i64 %idle.next, %patience
  br i1 %tired, label %end, label %spin
spin:
  {pause}
  br label %loop
end:
  ret void
}}

; Writes the addresses of the arrays in `list` into argument blocks: `count` triples {{array, word
; of the block, bytes to add}}. Gives -1, or the index of an array not contiguous and aligned.
define i64 @tapeflow_bind(ptr %list, i64 %arrays, ptr %triples, i64 %count, ptr %block) {{
  %items.at = getelementptr i8, ptr %list, i64 {items}
  %items = load ptr, ptr %items.at
  br label %check
check:
  %a = phi i64 [ 0, %0 ], [ %a.next, %sound ]
  %a.more = icmp slt i64 %a, %arrays
  br i1 %a.more, label %look, label %loop
look:
  %seen.at = getelementptr ptr, ptr %items, i64 %a
  %seen = load ptr, ptr %seen.at
  %flags.at = getelementptr i8, ptr %seen, i64 {flags}
  %flags = load i32, ptr %flags.at
  %wanted = and i32 %flags, 257
  %fit = icmp eq i32 %wanted, 257
  br i1 %fit, label %sound, label %unfit
sound:
  %a.next = add i64 %a, 1
  br label %check
unfit:
  ret i64 %a
loop:
  %i = phi i64 [ 0, %check ], [ %i.next, %write ]
  %more = icmp slt i64 %i, %count
  br i1 %more, label %write, label %end
write:
  %word = mul i64 %i, 3
  %triple = getelementptr i64, ptr %triples, i64 %word
  %array = load i64, ptr %triple
  %to.at = getelementptr i64, ptr %triple, i64 1
  %to = load i64, ptr %to.at
  %add.at = getelementptr i64, ptr %triple, i64 2
  %add = load i64, ptr %add.at
  %item.at = getelementptr ptr, ptr %items, i64 %array
  %item = load ptr, ptr %item.at
  %data.at = getelementptr i8, ptr %item, i64 {data}
  %data = load i64, ptr %data.at
  %address = add i64 %data, %add
  %slot = getelementptr i64, ptr %block, i64 %to
  store i64 %address, ptr %slot
  %i.next = add i64 %i, 1
  br label %loop
end:
  ret i64 -1
}}

; A whole call: binds, then runs all rows. `state` is {{list, arrays, triples, count, block, rows,
; number of rows, pool}}, since one argument is passed from Python in half the time of eight.
; Gives -1, {stopped} as tapeflow_run does, or what tapeflow_bind gives.
define i64 @tapeflow_call(ptr %state) {{
  %arrays.at = getelementptr i64, ptr %state, i64 1
  %triples.at = getelementptr i64, ptr %state, i64 2
  %count.at = getelementptr i64, ptr %state, i64 3
  %block.at = getelementptr i64, ptr %state, i64 4
  %rows.at = getelementptr i64, ptr %state, i64 5
  %last.at = getelementptr i64, ptr %state, i64 6
  %pool.at = getelementptr i64, ptr %state, i64 7
  %list = load ptr, ptr %state
  %arrays = load i64, ptr %arrays.at
  %triples = load ptr, ptr %triples.at
  %count = load i64, ptr %count.at
  %block = load ptr, ptr %block.at
  %rows = load ptr, ptr %rows.at
  %last = load i64, ptr %last.at
  %pool = load ptr, ptr %pool.at
  %unfit = call i64 @tapeflow_bind(ptr %list, i64 %arrays, ptr %triples, i64 %count, ptr %block)
  %sound = icmp eq i64 %unfit, -1
  br i1 %sound, label %go, label %end
go:
  %ran = call i64 @tapeflow_run(ptr %rows, i64 0, i64 %last, ptr %pool)
  %whole = icmp eq i64 %ran, 0
  %said = select i1 %whole, i64 -1, i64 %ran
  ret i64 %said
end:
  ret i64 %unfit
}}

declare i64 @llvm.smin.i64(i64, i64)
{declarations}
"""
_PAUSES = {"x86_64": "llvm.x86.sse2.pause", "amd64": "llvm.x86.sse2.pause"}
SYMBOLS = ("tapeflow_run", "tapeflow_work", "tapeflow_bind", "tapeflow_call", "tapeflow_loop",
           "tapeflow_branch")


def source() -> str:
    """The driver as LLVM IR for this machine and interpreter."""
    head = object.__basicsize__
    word = 8
    pause = _PAUSES.get(platform.machine().lower())
    text = _TEXT.format(
        row=ROW,
        stopped=STOPPED,
        line=_LINE,
        first_ticket=_FIRST_TICKET,
        threads_word=THREADS_WORD,
        items=head + word,
        data=head,
        flags=head + 6 * word,
        pause=f"call void @{pause}()" if pause else "fence seq_cst",
        declarations=f"declare void @{pause}()" if pause else "",
    )
    return text + turns.TEXT


@functools.cache
def addresses() -> dict[str, int]:
    """The driver's functions, loaded into this process."""
    return load(assemble(source()), SYMBOLS)
