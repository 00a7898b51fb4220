# Waits until the process that holds the other end of its input is gone, however it ended. Then ends every process that works in
# the directory $1, and removes it. Only servers and clients of the tests have their working directory in there.
directory=$1
read -r -N 1 _
for _ in {1..200}; do
    found=
    for process in /proc/[0-9]*; do
        at=$(readlink "$process/cwd" 2>/dev/null) || continue
        case $at in
        "$directory" | "$directory"/*)
            # Stopped processes (SIGSTOP) end by this signal too.
            kill -KILL "${process#/proc/}" 2>/dev/null
            found=1
            ;;
        esac
    done
    [ -n "$found" ] || break
    sleep 0.05
done
# A killed server leaves a segment of shared memory, which the file of its process names.
for file in "$directory"/*/postmaster.pid; do
    [ -e "$file" ] || continue
    read -r _ segment < <(sed -n 7p "$file")
    ipcrm -m "$segment" 2>/dev/null
done
rm -rf -- "$directory"
