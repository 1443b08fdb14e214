"""Loops and branches in the driver: rows whose kernels run rows of their own.

Such a kernel gives 0, or 1 where a loop was stopped; what it would have written is not whole then.
"""

TEXT = """
; Writes where values lie in this turn into the blocks of a body: patches first to last - 1, each
; {word to write, word of args in even turns, the same in odd ones, bytes to add, bytes a row}.
define internal void @place(ptr %args, i64 %where, i64 %first, i64 %last, i64 %k, i64 %row) {
  %patches.at = getelementptr i64, ptr %args, i64 %where
  %patches = load ptr, ptr %patches.at
  %odd = and i64 %k, 1
  %which = add i64 %odd, 1
  br label %loop
loop:
  %i = phi i64 [ %first, %0 ], [ %i.next, %write ]
  %more = icmp slt i64 %i, %last
  br i1 %more, label %write, label %end
write:
  %word = mul i64 %i, 5
  %patch = getelementptr i64, ptr %patches, i64 %word
  %to = load ptr, ptr %patch
  %from.at = getelementptr i64, ptr %patch, i64 %which
  %from = load i64, ptr %from.at
  %add.at = getelementptr i64, ptr %patch, i64 3
  %add = load i64, ptr %add.at
  %stride.at = getelementptr i64, ptr %patch, i64 4
  %stride = load i64, ptr %stride.at
  %base.at = getelementptr i64, ptr %args, i64 %from
  %base = load i64, ptr %base.at
  %far = mul i64 %stride, %row
  %near = add i64 %base, %add
  %address = add i64 %near, %far
  store i64 %address, ptr %to
  %i.next = add i64 %i, 1
  br label %loop
end:
  ret void
}

define internal i64 @word(ptr %args, i64 %i) {
  %at = getelementptr i64, ptr %args, i64 %i
  %word = load i64, ptr %at
  ret i64 %word
}

define internal i1 @flag(ptr %args) {
  %at = load ptr, ptr %args
  %byte = load i8, ptr %at
  %set = icmp ne i8 %byte, 0
  ret i1 %set
}

; Runs the rows of the body that is described from word `at` on: {rows, number of rows}.
define internal i64 @body(ptr %args, i64 %at, i64 %pool) {
  %rows.word = call i64 @word(ptr %args, i64 %at)
  %rows = inttoptr i64 %rows.word to ptr
  %next = add i64 %at, 1
  %last = call i64 @word(ptr %args, i64 %next)
  %helpers = inttoptr i64 %pool to ptr
  %ended = call i64 @tapeflow_run(ptr %rows, i64 0, i64 %last, ptr %helpers)
  ret i64 %ended
}

; A row that is a loop: `args` is {address of the test's result, rows of the body, their number,
; rows of the test, their number, turns or -1, first row of data, step, patches, patches for the
; first turn only, all patches, copies, their number, watch, turns before its first look or 0 inside
; another loop, and the addresses of which patches speak}.
;
; A watch is {turns until the next look, a function, of how many turns that was told last}: what the
; function gives is the number of turns until it is to be called again, or 0 to stop.
define i64 @tapeflow_loop(i64 %pool, i64 %extent, ptr %args) {
  %turns = call i64 @word(ptr %args, i64 5)
  %first = call i64 @word(ptr %args, i64 6)
  %step = call i64 @word(ptr %args, i64 7)
  %fixed = call i64 @word(ptr %args, i64 9)
  %all = call i64 @word(ptr %args, i64 10)
  %endless = icmp slt i64 %turns, 0
  call void @place(ptr %args, i64 8, i64 0, i64 %fixed, i64 0, i64 0)
  %watch.word = call i64 @word(ptr %args, i64 13)
  %watch = inttoptr i64 %watch.word to ptr
  %patience = call i64 @word(ptr %args, i64 14)
  %outermost = icmp sgt i64 %patience, 0
  br i1 %outermost, label %begin, label %loop
begin:
  %told.at = getelementptr i64, ptr %watch, i64 2
  store i64 %patience, ptr %watch
  store i64 %patience, ptr %told.at
  br label %loop
loop:
  %k = phi i64 [ 0, %0 ], [ 0, %begin ], [ %k.next, %next ]
  %row = phi i64 [ %first, %0 ], [ %first, %begin ], [ %row.next, %next ]
  %more = icmp slt i64 %k, %turns
  %enter = or i1 %more, %endless
  br i1 %enter, label %look, label %end
look:
  call void @place(ptr %args, i64 8, i64 %fixed, i64 %all, i64 %k, i64 %row)
  br i1 %endless, label %test, label %turn
test:
  %tested = call i64 @body(ptr %args, i64 3, i64 %pool)
  %untested = icmp ne i64 %tested, 0
  br i1 %untested, label %stop, label %decide
decide:
  %go = call i1 @flag(ptr %args)
  br i1 %go, label %turn, label %end
turn:
  %turned = call i64 @body(ptr %args, i64 1, i64 %pool)
  %broken = icmp ne i64 %turned, 0
  br i1 %broken, label %stop, label %after
after:
  %left = load i64, ptr %watch
  %left.next = sub i64 %left, 1
  store i64 %left.next, ptr %watch
  %due = icmp slt i64 %left.next, 1
  br i1 %due, label %check, label %next
check:
  %function.at = getelementptr i64, ptr %watch, i64 1
  %function = load ptr, ptr %function.at
  %told = call i64 %function()
  store i64 %told, ptr %watch
  %again = icmp sgt i64 %told, 0
  br i1 %again, label %next, label %stop
stop:
  ret i64 1
next:
  %k.next = add i64 %k, 1
  %row.next = add i64 %row, %step
  br label %loop
end:
  %odd = and i64 %k, 1
  %copies.word = call i64 @word(ptr %args, i64 11)
  %copies = inttoptr i64 %copies.word to ptr
  %count = call i64 @word(ptr %args, i64 12)
  %wanted = mul i64 %odd, %count
  br label %copying
copying:
  %c = phi i64 [ 0, %end ], [ %c.next, %copy ]
  %c.more = icmp slt i64 %c, %wanted
  br i1 %c.more, label %copy, label %done
copy:
  %c.word = mul i64 %c, 3
  %copy.at = getelementptr i64, ptr %copies, i64 %c.word
  %to.word = call i64 @word(ptr %copy.at, i64 0)
  %from.word = call i64 @word(ptr %copy.at, i64 1)
  %bytes = call i64 @word(ptr %copy.at, i64 2)
  %to.at = call i64 @word(ptr %args, i64 %to.word)
  %from.at = call i64 @word(ptr %args, i64 %from.word)
  %to = inttoptr i64 %to.at to ptr
  %from = inttoptr i64 %from.at to ptr
  call void @llvm.memcpy.p0.p0.i64(ptr %to, ptr %from, i64 %bytes, i1 false)
  %c.next = add i64 %c, 1
  br label %copying
done:
  ret i64 0
}

; A row that is a branch: `args` is {address of the condition, then for what happens if it is true,
; and for the other: rows, their number, patches, their number; and the addresses}.
define i64 @tapeflow_branch(i64 %pool, i64 %extent, ptr %args) {
  %true = call i1 @flag(ptr %args)
  %at = select i1 %true, i64 1, i64 5
  %patches = add i64 %at, 2
  %count.at = add i64 %at, 3
  %count = call i64 @word(ptr %args, i64 %count.at)
  call void @place(ptr %args, i64 %patches, i64 0, i64 %count, i64 0, i64 0)
  %ended = call i64 @body(ptr %args, i64 %at, i64 %pool)
  ret i64 %ended
}

declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
"""
