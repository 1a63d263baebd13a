"""What targets and workloads share: server instances in a cgroup of their own, CPU and memory
accounting, and the common parts of the servers' configurations.  Standard library only."""
import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUILD = Path(os.environ.get('BENCH_BUILD', HERE / 'build'))
USER = os.environ.get('BENCH_USER', 'www-data')
PORT0, PORT9 = 18200, 18299
THREADS = int(os.environ.get('BENCH_THREADS', '64'))       # per httpd child
CHILDREN = int(os.environ.get('BENCH_CHILDREN', '2'))
CGROOT = next((p for p in (Path('/sys/fs/cgroup'), Path('/sys/fs/cgroup/unified'))
               if (p / 'cgroup.procs').exists() and (p / 'cgroup.controllers').exists()), None)
STATIC = {'hello': 14, '64k': 65536, '1m': 1 << 20, '10m': 10 << 20}

_ports = iter(range(PORT0, PORT9 + 1))


def free_port():
    for p in _ports:
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(('127.0.0.1', p))
                return p
            except OSError:
                pass
    raise SystemExit(f'no free port in {PORT0}-{PORT9}')


def read(path, default=''):
    try:
        return Path(path).read_text()
    except OSError:
        return default


class Instance:
    """One server (and its application processes), started from a target's config in a
    directory of its own, with a cgroup of its own so that every process it forks is accounted
    for and can be killed."""

    def __init__(self, target, app='c', procs=2):
        self.target, self.app, self.procs = target, app, procs
        self.name = target['name']
        self.kind = target.get('kind', 'http')         # http | static | raw
        self.port = free_port()
        self.dir = Path(tempfile.mkdtemp(prefix=f'bench-{self.name}-', dir='/tmp'))
        os.chmod(self.dir, 0o755)
        self.sock = self.dir / 'run' / 'app.sock'
        for d in ('run', 'state', 'log', 'docroot/static'):
            (self.dir / d).mkdir(parents=True)
        for d in ('run', 'state', 'log'):
            os.chmod(self.dir / d, 0o1777)
        for n, size in STATIC.items():
            (self.dir / 'docroot/static' / n).write_bytes(b'Hello, world!\n' if size == 14 else b'x' * size)
        self.app_path = self._install_app()
        self.cg = None
        self.procs_started = []
        self.start_s = None

    # -- the application -------------------------------------------------------------------
    def _install_app(self):
        d = self.dir
        if self.app in ('c', 'cslow'):
            src = 'app.cgi' if self.target.get('cgi') else 'app.fcgi'
            dst = d / ('slowstart.fcgi' if self.app == 'cslow' else 'app.fcgi')
            shutil.copy(BUILD / src, dst)
        elif self.app == 'perl':
            dst = d / 'app.pl'
            shutil.copy(HERE / 'apps/app.pl', dst)
        else:
            dst = d / 'docroot/app.php'
            shutil.copy(HERE / 'apps/app.php', dst)
        os.chmod(dst, 0o755)
        return dst

    def path(self, query='', static=None):
        if self.kind == 'static':
            m = re.match(r'size=(\d+)', query)
            static = {str(v): k for k, v in STATIC.items()}[m.group(1)] if m else 'hello'
        if static:
            return f'/static/{static}'
        return ('/app.php' if self.app == 'php' else '/app') + (f'?{query}' if query else '')

    def url(self, query='', static=None):
        return f'http://127.0.0.1:{self.port}{self.path(query, static)}'

    # -- life -------------------------------------------------------------------------------
    def start(self):
        if CGROOT is None:
            raise SystemExit('needs a cgroup v2 hierarchy to account for CPU')
        self.cg = CGROOT / self.dir.name
        self.cg.mkdir()
        t0 = time.monotonic()
        for i, argv in enumerate(self.target['write'](self)):
            log = open(self.dir / 'log' / f'cmd{i}.out', 'wb')
            cg = self.cg

            def join():
                (cg / 'cgroup.procs').write_text(str(os.getpid()))
            self.procs_started.append(subprocess.Popen(
                [str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=self.dir, preexec_fn=join, start_new_session=True))
            log.close()
        self.start_s = t0
        return self

    def wait_up(self, timeout=20):
        """Seconds from start() until the port (or socket) answers."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            try:
                if self.kind == 'raw':
                    s = socket.socket(socket.AF_UNIX)
                    s.connect(str(self.sock))
                else:
                    s = socket.create_connection(('127.0.0.1', self.port), 1)
                s.close()
                return time.monotonic() - self.start_s
            except OSError:
                time.sleep(0.002)
        raise RuntimeError(f'{self.name} did not come up:\n{self.logs()}')

    def warm(self):
        """Drive the target until all its application processes exist and have served."""
        self.wait_up()
        if self.kind != 'http':
            return
        q = 'sleep=100' if self.app in ('c', 'cslow') else ''
        for _ in range(12):
            hclient('burst', self.port, self.path(q), self.procs * 2, 3)
            if self.target.get('cgi') or len(self.app_pids()) >= self.procs:
                break
            time.sleep(0.3)
        hclient('burst', self.port, self.path(), 20, 2)

    def stop(self):
        if self.procs_started and self.procs_started[-1].poll() is None:
            self.procs_started[-1].terminate()
            try:
                self.procs_started[-1].wait(3)
            except subprocess.TimeoutExpired:
                pass
        if self.cg:
            end = time.monotonic() + 5
            while self.pids() and time.monotonic() < end:
                for p in self.pids():
                    try:
                        os.kill(p, signal.SIGKILL)
                    except OSError:
                        pass
                time.sleep(0.05)
        for p in self.procs_started:
            p.wait()
        if self.cg:
            for _ in range(50):
                try:
                    self.cg.rmdir()
                    break
                except OSError:
                    time.sleep(0.1)
        if not os.environ.get('BENCH_KEEP'):
            shutil.rmtree(self.dir, ignore_errors=True)

    def logs(self):
        return ''.join(f'== {p}\n{read(p)[-2000:]}' for p in sorted((self.dir / 'log').iterdir()))

    # -- accounting ---------------------------------------------------------------------------
    def pids(self):
        return [int(p) for p in read(self.cg / 'cgroup.procs').split()]

    def is_app(self, pid):
        try:
            exe = os.path.basename(os.readlink(f'/proc/{pid}/exe'))
        except OSError:
            return False
        return bool(re.match(r'app\.|slowstart|perl|php', exe))

    def app_pids(self):
        return [p for p in self.pids() if self.is_app(p)
                and 'php-fpm: master' not in read(f'/proc/{p}/cmdline')]

    def server_pids(self):
        return [p for p in self.pids() if not self.is_app(p)]

    def cpu_us(self):
        """CPU used by everything in the cgroup, processes that ended included."""
        return int(re.search(r'usage_usec (\d+)', read(self.cg / 'cpu.stat')).group(1))

    @staticmethod
    def pid_cpu_us(pid):
        t = 0
        for task in Path(f'/proc/{pid}/task').glob('*'):
            f = read(task / 'schedstat').split()
            t += int(f[0]) // 1000 if f else 0
        return t

    def server_cpu_us(self):
        return {p: self.pid_cpu_us(p) for p in self.server_pids()}

    def pss_kb(self):
        srv = app = 0
        for p in self.pids():
            m = re.search(r'^Pss:\s+(\d+)', read(f'/proc/{p}/smaps_rollup'), re.M)
            if m:
                if self.is_app(p):
                    app += int(m.group(1))
                else:
                    srv += int(m.group(1))
        return srv, app

    def wakeups(self):
        """{pid: voluntary context switches of all its threads}."""
        out = {}
        for p in self.pids():
            out[p] = sum(int(m) for t in Path(f'/proc/{p}/task').glob('*')
                         for m in re.findall(r'^voluntary_ctxt_switches:\s+(\d+)', read(t / 'status'), re.M))
        return out

    def busy(self):
        """(busy application processes, application processes) by their state pages; None
        where the application keeps none."""
        n = b = 0
        for p in self.app_pids():
            try:
                data = (self.dir / 'state' / str(p)).read_bytes()
            except OSError:
                continue
            n += 1
            b += data[0] != 0
        return (b, n) if n else None


# -- tools ---------------------------------------------------------------------------------------
def hclient_start(*a):
    return subprocess.Popen([sys.executable, HERE / 'tools/hclient.py', *map(str, a)],
                            stdout=subprocess.PIPE, text=True)


def hclient_end(p):
    out = p.communicate()[0]
    if p.returncode != 0:
        raise RuntimeError('hclient failed')
    return json.loads(out)


def hclient(*a):
    return hclient_end(hclient_start(*a))


def cpu_total_us():
    """Busy time of the whole machine."""
    f = [int(x) for x in read('/proc/stat').split('\n')[0].split()[1:]]
    return (sum(f[:8]) - f[3] - f[4]) * 10000


# -- parts of configurations ------------------------------------------------------------------------
MODDIR = os.environ.get('BENCH_HTTPD_MODULES', '/usr/lib/apache2/modules')
HTTPD = os.environ.get('BENCH_HTTPD', '/usr/sbin/apache2')


def fill(text, inst, **more):
    """Replaces @NAME@ in a template."""
    v = {'DIR': inst.dir, 'PORT': inst.port, 'PROCS': inst.procs, 'APP': inst.app_path,
         'SOCK': inst.sock, 'USER': USER, 'DOCROOT': inst.dir / 'docroot', 'MODDIR': MODDIR,
         'THREADS': THREADS, 'CHILDREN': CHILDREN, 'MAXWORKERS': THREADS * CHILDREN, **more}
    return re.sub(r'@([A-Z_]+)@', lambda m: str(v.get(m.group(1), m.group(0))), text)


HTTPD_BASE = '''\
ServerRoot "@DIR@"
ServerName 127.0.0.1
Listen 127.0.0.1:@PORT@
PidFile "@DIR@/run/httpd.pid"
DefaultRuntimeDir "@DIR@/run"
ErrorLog "@DIR@/log/error.log"
LogLevel warn
User @USER@
Group @USER@
Mutex default
LoadModule mpm_event_module @MODDIR@/mod_mpm_event.so
LoadModule authz_core_module @MODDIR@/mod_authz_core.so
LoadModule mime_module @MODDIR@/mod_mime.so
LoadModule alias_module @MODDIR@/mod_alias.so
TypesConfig /etc/mime.types
StartServers @CHILDREN@
ServerLimit @CHILDREN@
ThreadsPerChild @THREADS@
ThreadLimit @THREADS@
MaxRequestWorkers @MAXWORKERS@
MinSpareThreads 1
MaxSpareThreads @MAXWORKERS@
MaxConnectionsPerChild 0
ListenBacklog 1024
Timeout 60
KeepAlive On
MaxKeepAliveRequests 0
KeepAliveTimeout 15
DocumentRoot "@DOCROOT@"
<Directory "/">
  AllowOverride None
  Require all granted
</Directory>
'''


def httpd(inst, extra, **more):
    """Writes httpd.conf (the common base, then extra) and returns the command that runs it."""
    conf = inst.dir / 'httpd.conf'
    conf.write_text(fill(HTTPD_BASE + extra, inst, **more))
    return [HTTPD, '-d', inst.dir, '-f', conf, '-DFOREGROUND']


def app_argv(inst):
    return ['/usr/bin/perl', inst.app_path] if inst.app == 'perl' else [inst.app_path]


def spawn_app(inst):
    """The command that starts the application's processes on inst.sock beforehand, for servers
    that do not start them themselves: spawn-fcgi's prefork, or php-fpm."""
    if inst.app != 'php':
        return ['spawn-fcgi', '-b', '1024', '-s', inst.sock, '-M', '0666',
                '-u', USER, '-g', USER, '-F', inst.procs, '--', *app_argv(inst)]
    conf = inst.dir / 'fpm.conf'
    conf.write_text(fill('''\
[global]
error_log = @DIR@/log/fpm.log
daemonize = no
[www]
user = @USER@
group = @USER@
listen = @SOCK@
listen.mode = 0666
listen.backlog = 1024
pm = static
pm.max_children = @PROCS@
pm.max_requests = 0
''', inst))
    return ['php-fpm8.2', '-F', '-y', conf]


def load_targets():
    """{name: target} of targets/*.py and of the directories in BENCH_TARGETS_PATH."""
    dirs = [HERE / 'targets'] + [Path(p) for p in os.environ.get('BENCH_TARGETS_PATH', '').split(':') if p]
    out = {}
    for d in dirs:
        for f in sorted(d.glob('*.py')):
            spec = importlib.util.spec_from_file_location('target_' + f.stem, f)
            m = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(m)
            for t in m.TARGETS:
                out[t['name']] = t
    return out
