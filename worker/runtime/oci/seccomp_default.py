"""What a container may ask of the kernel under `RuntimeDefault`: our table of system calls.

In the spirit of what Docker and containerd ship: everything is refused with EPERM, except what
ordinary programs need. A capability that the container holds opens what belongs to it, so nothing
is granted here that the kernel would not grant anyway. Names that an architecture does not have
are skipped by the OCI runtime. Pure data; `seccomp` makes the profile.

Left out on purpose, and why:

- keyctl, add_key, request_key: keyrings are not namespaced.
- userfaultfd: holds a page fault in the kernel for as long as an attacker needs for a race.
- io_uring_*: runs operations past this very filter, and was the kernel's richest source of holes.
- name_to_handle_at needs nothing, but open_by_handle_at walks out of a container ("shocker").
- kexec_*, *_module, swapon, reboot, acct, settimeofday: the node's, not a pod's.
- bpf, perf_event_open, lookup_dcookie, process_vm_*, kcmp: look into the kernel or other processes.
- mount, umount2, unshare, setns and clone with namespace flags: a new user namespace would give
  its maker every capability inside it.
- nfsservctl, vm86, uselib, ustat, sysfs, _sysctl, create_module: dead interfaces.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Rule:
    """System calls that are allowed where `args` match and one of `capabilities` is held."""

    names: str
    capabilities: tuple[str, ...] = ()
    args: tuple[dict[str, Any], ...] = ()


FILES = """
access chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3 faccessat
faccessat2 fadvise64 fadvise64_64 arm_fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat
fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr flock fremovexattr
fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futimesat getcwd
getdents getdents64 getxattr getxattrat inotify_add_watch inotify_init inotify_init1
inotify_rm_watch ioctl lchown lchown32 lgetxattr link linkat listxattr listxattrat llistxattr
_llseek lremovexattr lseek lsetxattr lstat lstat64 mkdir mkdirat mknod mknodat mmap mmap2
name_to_handle_at newfstatat open openat openat2 pread64 preadv preadv2 pwrite64 pwritev pwritev2
read readahead readlink readlinkat readv removexattr removexattrat rename renameat renameat2 rmdir
sendfile sendfile64 setxattr setxattrat splice stat stat64 statfs statfs64 statx symlink symlinkat
sync sync_file_range sync_file_range2 syncfs tee truncate truncate64 umask unlink unlinkat utime
utimensat utimensat_time64 utimes vmsplice write writev landlock_add_rule landlock_create_ruleset
landlock_restrict_self
"""
MEMORY = """
brk cachestat get_mempolicy madvise map_shadow_stack membarrier memfd_create memfd_secret mincore
mlock mlock2 mlockall mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free
pkey_mprotect process_mrelease remap_file_pages
"""
PROCESSES = """
arch_prctl arm_sync_file_range breakpoint cacheflush capget capset execve execveat exit exit_group
fork futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake get_robust_list
get_thread_area getcpu getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32
getpgid getpgrp getpid getppid getpriority getrandom getresgid getresgid32 getresuid getresuid32
getrlimit getrusage getsid gettid getuid getuid32 ioprio_get ioprio_set kill modify_ldt nice
pause pidfd_open pidfd_send_signal prctl prlimit64 restart_syscall riscv_flush_icache
riscv_hwprobe rseq sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr
sched_getparam sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64
sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp
set_robust_list
set_thread_area set_tid_address set_tls setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32
setgroups setgroups32 setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid
setresuid32 setreuid setreuid32 setrlimit setsid setuid setuid32 sysinfo times ugetrlimit uname
usr26 usr32 vfork wait4 waitid waitpid
"""
SIGNALS = """
rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend
rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaction sigaltstack signal signalfd
signalfd4 sigpending sigprocmask sigreturn sigsuspend tgkill tkill
"""
TIME = """
adjtimex alarm clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime
clock_gettime64 clock_nanosleep clock_nanosleep_time64 getitimer gettimeofday nanosleep setitimer
time timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime
timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64
"""
WAITING = """
epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait
epoll_wait_old eventfd eventfd2 _newselect poll ppoll ppoll_time64 pselect6 pselect6_time64 select
io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit
"""
NETWORK = """
accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg
recvmmsg_time64 recvmsg send sendmmsg sendmsg sendto setsockopt shutdown socketcall socketpair
"""
IPC = """
ipc mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend
mq_timedsend_time64 mq_unlink msgctl msgget msgrcv msgsnd pipe pipe2 semctl semget semop semtimedop
semtimedop_time64 shmat shmctl shmdt shmget
"""

# CLONE_NEW* of every namespace: cgroup, uts, ipc, user, pid, net, and mount.
_NAMESPACE_FLAGS = 0x7E020000
_AF_VSOCK = 40  # reaches the hypervisor past every network policy


def _equal(index: int, value: int) -> dict[str, Any]:
    return {"index": index, "value": value, "op": "SCMP_CMP_EQ"}


def _without_namespaces(flags_at: int) -> dict[str, Any]:
    return {"index": flags_at, "value": _NAMESPACE_FLAGS, "valueTwo": 0,
            "op": "SCMP_CMP_MASKED_EQ"}  # fmt: skip


# PER_LINUX, PER_LINUX32, UNAME26, both, and the question which one is set. ADDR_NO_RANDOMIZE and
# READ_IMPLIES_EXEC would undo protections of a setuid program.
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)

RULES: tuple[Rule, ...] = (
    *(Rule(group) for group in
      (FILES, MEMORY, PROCESSES, SIGNALS, TIME, WAITING, NETWORK, IPC)),
    Rule("socket", args=({"index": 0, "value": _AF_VSOCK, "op": "SCMP_CMP_NE"},)),
    *(Rule("personality", args=(_equal(0, value),)) for value in _PERSONALITIES),
    Rule("clone", args=(_without_namespaces(0),)),
    # Harmless against one's own children since Linux 4.8, and debuggers and sandboxes need it.
    Rule("ptrace"),
    Rule("open_by_handle_at", ("CAP_DAC_READ_SEARCH",)),
    Rule("""bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie
         lsm_get_self_attr lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount
         open_tree perf_event_open pivot_root quotactl quotactl_fd setdomainname sethostname setns
         syslog umount umount2 unshare""", ("CAP_SYS_ADMIN",)),
    Rule("reboot", ("CAP_SYS_BOOT",)),
    Rule("chroot", ("CAP_SYS_CHROOT",)),
    Rule("delete_module init_module finit_module", ("CAP_SYS_MODULE",)),
    Rule("acct", ("CAP_SYS_PACCT",)),
    Rule("kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev",
         ("CAP_SYS_PTRACE",)),
    Rule("iopl ioperm", ("CAP_SYS_RAWIO",)),
    Rule("settimeofday stime clock_settime clock_settime64", ("CAP_SYS_TIME",)),
    Rule("vhangup", ("CAP_SYS_TTY_CONFIG",)),
    Rule("get_mempolicy mbind migrate_pages move_pages set_mempolicy set_mempolicy_home_node",
         ("CAP_SYS_NICE",)),
    Rule("syslog", ("CAP_SYSLOG",)),
    Rule("bpf", ("CAP_BPF",)),
    Rule("perf_event_open", ("CAP_PERFMON",)),
)  # fmt: skip
