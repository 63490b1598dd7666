//go:build slurm

package cmd

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"facescan/pipeline/fetch/fetchtest"
)

// Tests of array jobs on a real Slurm. It runs as ordinary daemons of this user on loopback, and its node
// claims to have many cores, so that cases run side by side.

// slurm is a Slurm cluster of one node.
type slurm struct{ conf string }

// slurmConf has to be filled in with host, two ports, user and folder. Without the two parameters of
// Communication the daemons would listen on every address, and let everybody in. A task that is requeued
// waits for as long as credentials are good.
const slurmConf = `ClusterName=facescan
SlurmctldHost=%[1]s(127.0.0.1)
SlurmctldPort=%[2]s
SlurmdPort=%[3]s
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmUser=%[4]s
SlurmdUser=%[4]s
AuthType=auth/none
CredType=cred/none
AuthInfo=cred_expire=5
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
MailProg=/bin/true
JobAcctGatherType=jobacct_gather/none
JobRequeue=1
ReturnToService=2
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,bf_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
StateSaveLocation=%[5]s/state
SlurmdSpoolDir=%[5]s/spool
SlurmctldPidFile=%[5]s/slurmctld.pid
SlurmdPidFile=%[5]s/slurmd.pid
NodeName=%[1]s NodeAddr=127.0.0.1 CPUs=1024
PartitionName=main Nodes=%[1]s Default=YES State=UP
`

// slurmDaemons runs both until stdin ends, so that they end with the test, however that ends. Jobs are
// cancelled first: they would outlive the daemons.
const slurmDaemons = `slurmctld -D >slurmctld.log 2>&1 & ctld=$!
slurmd -D >slurmd.log 2>&1 & d=$!
read -r _
scancel --user="$(id -un)"
for _ in $(seq 200); do [ -n "$(squeue -h 2>/dev/null)" ] || break; sleep 0.2; done
kill $d $ctld; wait`

func startSlurm(t *testing.T) *slurm {
	t.Helper()
	for _, name := range []string{"slurmctld", "slurmd", "sbatch", "scancel", "scontrol", "squeue"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Fatalf("these tests need Slurm: %v; install it: "+
				"apt-get install --no-install-recommends slurm-wlm", err)
		}
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	host, _, _ = strings.Cut(host, ".")
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range []string{"state", "spool"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s := &slurm{conf: filepath.Join(dir, "slurm.conf")}
	text := fmt.Sprintf(slurmConf, host, freePort(t), freePort(t), me.Username, dir)
	for name, text := range map[string]string{"slurm.conf": text, "cgroup.conf": "CgroupPlugin=cgroup/v1\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	daemons := s.command(dir, nil, "sh", "-c", slurmDaemons)
	stdin, err := daemons.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := daemons.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		daemons.Wait()
		if t.Failed() {
			for _, name := range []string{"slurmctld.log", "slurmd.log"} {
				t.Logf("%s:\n%s", name, readFile(t, filepath.Join(dir, name)))
			}
		}
	})
	eventually(t, "the node of Slurm to be idle", func() bool {
		out, err := s.command(dir, nil, "sinfo", "-h", "-o", "%T").Output()
		return err == nil && strings.TrimSpace(string(out)) == "idle"
	})
	return s
}

func freePort(t *testing.T) string {
	t.Helper()
	_, port, err := net.SplitHostPort(freeAddress(t))
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func (s *slurm) command(dir string, env []string, name string, args ...string) *exec.Cmd {
	c := exec.Command(name, args...)
	c.Dir = dir
	c.Env = append(append(os.Environ(), "SLURM_CONF="+s.conf), env...)
	return c
}

// folder is one that a user submits jobs from: a list, and the scripts of the topic many-machines, for a
// number of tasks of this test's.
type folder struct {
	*slurm
	dir string
	env []string // of jobs
}

// inFlight is how many rows a task has in flight.
const inFlight = 2

// newFolder makes one with a list of n rows.
func (s *slurm) newFolder(t *testing.T, server *fetchtest.Server, n int) (*folder, []string) {
	t.Helper()
	var lines []string
	for i := range n {
		lines = append(lines, fmt.Sprintf("%s/i/1/%d.jpg", server.URL, i))
	}
	env := []string{"FACESCAN_ALLOW_PRIVATE=true", fmt.Sprintf("FACESCAN_FETCHERS=%d", inFlight)}
	f := &folder{s, t.TempDir(), env}
	writeList(t, f.dir, lines)
	return f, lines
}

// works submits one task of a script, and returns its job's number once it is at work.
func (f *folder) works(t *testing.T, server *fetchtest.Server, script string, task int) (job string) {
	t.Helper()
	asked := server.Total()
	job = f.submit(t, script, fmt.Sprint("--array=", task))
	eventually(t, "work", func() bool { return server.Total() > asked+10 })
	return job
}

// cancelled is works, for a task that is cancelled then.
func (f *folder) cancelled(t *testing.T, server *fetchtest.Server, script string, task int) (job string) {
	t.Helper()
	job = f.works(t, server, script, task)
	name := fmt.Sprintf("%s_%d", job, task)
	f.do(t, "scancel", name)
	if state, _, _ := f.ended(t, name); state != "CANCELLED" {
		t.Errorf("the task that was cancelled is %s", state)
	}
	return job
}

// submit hands a script to sbatch, with options, and returns the job's number.
func (f *folder) submit(t *testing.T, script string, options ...string) string {
	t.Helper()
	c := f.command(f.dir, f.env, "sbatch", append([]string{"--parsable"}, options...)...)
	c.Stdin = strings.NewReader(script)
	out, err := c.Output()
	if err != nil {
		t.Fatalf("sbatch: %v", err)
	}
	return strings.TrimSpace(string(out))
}

// do runs a command of Slurm's, or facescan, in the folder.
func (f *folder) do(t *testing.T, name string, args ...string) string {
	t.Helper()
	var stderr bytes.Buffer
	c := f.command(f.dir, f.env, name, args...)
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s%s", name, args, err, out, &stderr)
	}
	return string(out)
}

var jobFields = regexp.MustCompile(`\b(JobState|ExitCode|Restarts)=(\S+)`)

// ended waits for the end of a task, or of a job without tasks, and returns state, exit code and how often
// it was requeued.
func (f *folder) ended(t *testing.T, task string) (state, code, restarts string) {
	t.Helper()
	eventually(t, "the end of job "+task, func() bool {
		fields := map[string]string{}
		for _, m := range jobFields.FindAllStringSubmatch(f.do(t, "scontrol", "show", "job", "-o", task),
			-1) {
			fields[m[1]] = m[2]
		}
		state, code, restarts = fields["JobState"], fields["ExitCode"], fields["Restarts"]
		return state == "COMPLETED" || state == "FAILED" || state == "CANCELLED" || state == "TIMEOUT"
	})
	return state, code, restarts
}

// completed waits for tasks of a job that end well.
func (f *folder) completed(t *testing.T, job string, tasks ...int) {
	t.Helper()
	for _, i := range tasks {
		if state, code, _ := f.ended(t, fmt.Sprintf("%s_%d", job, i)); state != "COMPLETED" {
			t.Fatalf("task %d of job %s: %s, exit code %s\n%s", i, job, state, code, f.said(t, job, i))
		}
	}
}

// said is what a task has written.
func (f *folder) said(t *testing.T, job string, task int) string {
	t.Helper()
	return readFile(t, filepath.Join(f.dir, fmt.Sprintf("slurm-%s_%d.out", job, task)))
}

// says holds that a task has written some texts.
func (f *folder) says(t *testing.T, job string, task int, texts ...string) {
	t.Helper()
	said := f.said(t, job, task)
	for _, want := range texts {
		if !strings.Contains(said, want) {
			t.Errorf("task %d of job %s lacks %q in what it says:\n%s", task, job, want, said)
		}
	}
}

// ids are those of the rows that a job has done.
func (f *folder) ids(t *testing.T, job string) (ids []int) {
	t.Helper()
	for _, line := range strings.Fields(f.do(t, "facescan", "export", job, "--columns", "id"))[1:] {
		id, err := strconv.Atoi(line)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	return ids
}

// wholePart holds that a part has each of its rows, and that the server was asked for each once, but for so
// many that may have been asked for again.
func (f *folder) wholePart(t *testing.T, server *fetchtest.Server, i, of, n, again int) {
	t.Helper()
	part := fmt.Sprintf("urls.node-%d-of-%d.facescan.db", i, of)
	f.do(t, "facescan", "verify", part, "--require-source", "-q")
	var want []int
	for id := 1; id <= n; id++ {
		if id%of == i {
			want = append(want, id)
		}
	}
	if got := f.ids(t, part); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s has the rows %v, want %v", part, got, want)
	}
	if total := server.Total(); total < len(want) || total > len(want)+again {
		t.Errorf("%d requests for %d rows, of which %d may have been asked for again", total, len(want),
			again)
	}
}

// recipes are the topic's two scripts for Slurm, for as many tasks: one that facescan takes the place of,
// and one whose shell stays.
func recipes(t *testing.T, tasks int) (exec, stays string) {
	t.Helper()
	var after string
	blocks := regexp.MustCompile("(?s)\n```sh\n(.*?)\n```\n")
	for _, b := range blocks.FindAllStringSubmatch(readFile(t, "help/many-machines.md"), -1) {
		switch {
		case strings.Contains(b[1], "#SBATCH"):
			exec = b[1] + "\n"
		case strings.Contains(b[1], "trap "):
			after = b[1] + "\n"
		}
	}
	line := regexp.MustCompile(`(?m)^exec facescan .*\n`)
	if !line.MatchString(exec) || after == "" {
		t.Fatal("the topic's scripts for Slurm are not found")
	}
	for _, want := range []string{"--array=0-15", "--signal=B:TERM@60", "--requeue", "--node auto/16"} {
		if !strings.Contains(exec, want) {
			t.Fatalf("the topic's script for Slurm lacks %s:\n%s", want, exec)
		}
	}
	stays = line.ReplaceAllLiteralString(exec, after)
	size := strings.NewReplacer("0-15", fmt.Sprintf("0-%d", tasks-1), "auto/16",
		fmt.Sprintf("auto/%d", tasks))
	return size.Replace(exec), size.Replace(stays)
}

const slurmTasks = 4

func TestSlurm(t *testing.T) {
	s := startSlurm(t)
	for name, run := range map[string]func(*testing.T, *slurm){
		"array": slurmArray, "requeue": slurmRequeue, "cancel": slurmCancel,
		"time limit": slurmTimeLimit, "shell": slurmShell, "lost node": slurmLostNode,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, s)
		})
	}
}

// slurmArray runs a whole array with --node auto, and a merge after it, as the topic submits them.
func slurmArray(t *testing.T, s *slurm) {
	server := fetchtest.New(pictures(t), 5*time.Millisecond)
	defer server.Close()
	f, lines := s.newFolder(t, server, 200)
	script, _ := recipes(t, slurmTasks)
	script = strings.Replace(script, "auto/4", "auto", 1)
	line := regexp.MustCompile(`(?m)^sbatch --dependency=afterok:\$id --wrap '(.*)'$`)
	m := line.FindStringSubmatch(readFile(t, "help/many-machines.md"))
	if m == nil {
		t.Fatal("the topic's merge for Slurm is not found")
	}
	job := f.submit(t, script)
	merge := f.submit(t, "#!/bin/sh\n"+m[1]+"\n", "--dependency=afterok:"+job)
	f.completed(t, job, 0, 1, 2, 3)
	if state, code, _ := f.ended(t, merge); state != "COMPLETED" {
		said := readFile(t, filepath.Join(f.dir, "slurm-"+merge+".out"))
		t.Fatalf("merge: %s, exit code %s\n%s", state, code, said)
	}
	all := filepath.Join(f.dir, "urls.db")
	f.do(t, "facescan", "verify", all, "--require-source", "--deep", "-q")
	checkExport(t, all, lines, slices.Repeat([]string{"ok"}, len(lines)))
	if server.Total() != len(lines) {
		t.Errorf("%d requests for %d rows", server.Total(), len(lines))
	}
}

// slurmRequeue requeues a task in mid-run: it drains, and its next start does what is left.
func slurmRequeue(t *testing.T, s *slurm) {
	server := fetchtest.New(pictures(t), 100*time.Millisecond)
	defer server.Close()
	f, lines := s.newFolder(t, server, 400)
	script, _ := recipes(t, slurmTasks)
	job := f.works(t, server, script, 3)
	f.do(t, "scontrol", "requeue", job+"_3")
	f.completed(t, job, 3)
	if _, _, restarts := f.ended(t, job+"_3"); restarts != "1" {
		t.Errorf("the task was requeued %s times", restarts)
	}
	f.says(t, job, 3, "interrupted: ", "finished: 100 of 100")
	f.wholePart(t, server, 3, slurmTasks, len(lines), 0)
}

// slurmCancel cancels a task in mid-run, and submits it alone: Slurm's variables then do not tell how many
// tasks there were, so that auto alone is refused.
func slurmCancel(t *testing.T, s *slurm) {
	server := fetchtest.New(pictures(t), 100*time.Millisecond)
	defer server.Close()
	f, lines := s.newFolder(t, server, 400)
	script, _ := recipes(t, slurmTasks)
	job := f.cancelled(t, server, script, 1)
	asked := server.Total()
	f.says(t, job, 1, "nothing is lost; go on with: facescan run urls.node-1-of-4.facescan.db")

	bare := f.submit(t, strings.Replace(script, "auto/4", "auto", 1), "--array=1")
	if state, code, _ := f.ended(t, bare+"_1"); state != "FAILED" || code != "2:0" {
		t.Errorf("--node auto of one task: %s, exit code %s", state, code)
	}
	f.says(t, bare, 1, "use --node auto/N, N being the size of the first submission")
	if server.Total() != asked {
		t.Errorf("a refused task asked for %d URLs", server.Total()-asked)
	}

	f.completed(t, f.submit(t, script, "--array=1"), 1)
	f.wholePart(t, server, 1, slurmTasks, len(lines), 0)
}

// slurmLostNode kills a task whose job lies on a disk that nobody sees again. Submitted again, it fetches
// only what was not published.
func slurmLostNode(t *testing.T, s *slurm) {
	server := fetchtest.New(pictures(t), 100*time.Millisecond)
	defer server.Close()
	f, _ := s.newFolder(t, server, 400)
	f.env = append(f.env, "FACESCAN_PUBLISH_EVERY=500ms")
	script, _ := recipes(t, slurmTasks)
	publishes := regexp.MustCompile("`(exec facescan run .* --publish results)`")
	line := publishes.FindStringSubmatch(readFile(t, "help/many-machines.md"))
	if line == nil {
		t.Fatal("the topic's command that publishes is not found")
	}
	script = regexp.MustCompile(`(?m)^exec .*$`).ReplaceAllLiteralString(script,
		`export TMPDIR=$(mktemp -d -p .)`+"\n"+strings.Replace(line[1], "auto/16", "auto/4", 1))
	results := filepath.Join(f.dir, "results")
	job := f.submit(t, script, "--array=1")
	eventually(t, "a publication", func() bool { return publishedDone(t, results) > 10 })
	f.do(t, "scancel", "--full", "--signal=KILL", job+"_1")
	f.ended(t, job+"_1")
	lost := server.Total() - publishedDone(t, results)
	f.completed(t, f.submit(t, script, "--array=1"), 1)
	if got := publishedDone(t, results); got != 100 {
		t.Errorf("%d of 100 rows of the part are published", got)
	}
	if server.Total() != 100+lost {
		t.Errorf("%d requests for 100 rows, of which %d were not published", server.Total(), lost)
	}
	f.do(t, "facescan", "merge", "urls.db", "results", "-q")
	f.do(t, "facescan", "verify", "urls.db", "--require-source", "-q")
	if got := len(f.ids(t, "urls.db")); got != 100 {
		t.Errorf("%d of 100 rows are merged", got)
	}
}

// slurmTimeLimit lets a task run into its time limit: a minute before it is told, drains and exits 130.
func slurmTimeLimit(t *testing.T, s *slurm) {
	server := fetchtest.New(pictures(t), 100*time.Millisecond)
	defer server.Close()
	f, lines := s.newFolder(t, server, 8000)
	script, _ := recipes(t, slurmTasks)
	atTheLimit(t, f, server, script)
	f.env = append(f.env, "FACESCAN_FETCHERS=100", "FACESCAN_PER_HOST=0")
	f.completed(t, f.submit(t, script, "--array=2"), 2)
	f.wholePart(t, server, 2, slurmTasks, len(lines), 0)
}

// slurmShell runs the script whose shell stays. Slurm tells a task of its time limit through the shell
// only, and of its cancellation both: then the shell passes on a second signal, which is not to cut off
// what is in flight. A slow machine may make it late.
func slurmShell(t *testing.T, s *slurm) {
	server := fetchtest.New(pictures(t), 100*time.Millisecond)
	defer server.Close()
	f, lines := s.newFolder(t, server, 8000)
	_, script := recipes(t, slurmTasks)
	atTheLimit(t, f, server, script)
	f.cancelled(t, server, script, 2)
	f.env = append(f.env, "FACESCAN_FETCHERS=100", "FACESCAN_PER_HOST=0")
	f.completed(t, f.submit(t, script, "--array=2"), 2)
	f.wholePart(t, server, 2, slurmTasks, len(lines), inFlight)
}

// atTheLimit starts task 2 of a script and brings its time limit near.
func atTheLimit(t *testing.T, f *folder, server *fetchtest.Server, script string) {
	t.Helper()
	job := f.works(t, server, script, 2)
	f.do(t, "scontrol", "update", "JobId="+job+"_2", "TimeLimit=1") // a minute; Slurm looks twice a minute
	state, code, _ := f.ended(t, job+"_2")
	if state != "FAILED" || code != fmt.Sprintf("%d:0", exitInterrupted) {
		t.Errorf("the task that ran into its limit: %s, exit code %s", state, code)
	}
	f.says(t, job, 2, "draining: ", "interrupted: ")
}
