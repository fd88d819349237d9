// A wrong clock for one process, where the kernel's cannot be moved: node --import this, with CLOCK_SHIFT_MS in its environment.
const shiftMs = Number(process.env['CLOCK_SHIFT_MS'] ?? 0);
const realNow = Date.now;
Date.now = () => realNow() + shiftMs;
