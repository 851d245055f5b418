"""The most memory that a process took, printed by itself."""

PRINT_PEAK = """
with open("/proc/self/status") as status:  # not ru_maxrss, which begins with what the parent had
    print(next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) * 1024)
"""
