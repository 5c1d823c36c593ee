/* SPDX-License-Identifier: MIT */
#include "segment_name.h"

#include <errno.h>
#include <string.h>

#include "error.h"
#include "os.h"
#include "text.h"

int segment_check_name(const char *name)
{
    if (name == NULL || name[0] == '\0')
        return error_set(EINVAL, "a segment needs a name; it must contain SHARED, as in SHARED::node");
    const size_t length = strlen(name);
    if (length >= SEGMENT_NAME_BYTES)
        return error_set(EINVAL, "the segment name is %zu bytes long; at most 95 are possible", length);
    if (strchr(name, '/') != NULL)
        return error_set(EINVAL, "the segment name '%s' contains '/', which is not allowed", name);
    if (!text_is_printable(name, length))
        return error_set(EINVAL, "the segment name is not printable UTF-8");
    if (strstr(name, "SHARED") == NULL)
        return error_set(EINVAL, "the segment name '%s' does not contain SHARED", name);
    return 0;
}

/* Safe in a file name, and not a '.', which separates the parts. */
static bool is_safe(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           strchr("_-@+,", c) != NULL;
}

void segment_set_job(char out[64], const char *id)
{
    const size_t length = strlen(id);
    size_t safe = 0;
    while (safe < length && is_safe(id[safe]))
        safe++;
    if (safe == length && length < 64) {
        memcpy(out, id, length + 1);
        return;
    }
    char start[41] = {0};
    for (size_t i = 0; i < 40 && i < length; i++)
        start[i] = is_safe(id[i]) ? id[i] : '_';
    error_format(out, 64, "%s-%lx", start, (unsigned long)hash_bytes(id, length));
}

/* What tells a job, the first that is set. The batch system's word comes before the launcher's: several
 * launches in one job, as Slurm's steps are, share. `part`: a number other than 0 that tells apart the jobs
 * of an array, where they have the same id. */
static const struct {
    const char *id, *part;
} variables[] = {
    {"SHM_JOB", NULL},    {"SLURM_JOB_ID", NULL}, {"PBS_JOBID", NULL},      {"LSB_JOBID", "LSB_JOBINDEX"},
    {"OAR_JOB_ID", NULL}, {"COBALT_JOBID", NULL}, {"PMIX_NAMESPACE", NULL}, {"JOB_ID", "SGE_TASK_ID"},
};

#define VALUE_BYTES 488u
#define PART_BYTES  24u

/* In the environment that is given, NULL: in that with which the process began. */
static int read_environment(const char *const *environment, struct os_variable *wanted, size_t count)
{
    if (environment != NULL) {
        os_look_up(environment, wanted, count);
        return 0;
    }
    const int error = -os_first_environment(wanted, count);
    if (error == 0)
        return 0;
    return error_set(error,
                     "the job of this process is not known, because its environment cannot be read: "
                     "%s; name the job in traits.job",
                     error_words(error));
}

/* MPICH's and Intel's launcher names no job. But it hands each rank one end of a pair of sockets, and the
 * kernel knows which process made that: the launcher's one on this node, the same for all ranks here. */
static const char launcher[] = "PMI_FD";

/* Values as long as this, and they are nearly all, are read with the question which are set. */
#define SHORT_BYTES 66u

/* The first of `variables` that is set, COUNT_OF(variables) when it is the launcher's, more when there is
 * none; -1 with the error set. Its value, or what fits. Most processes have none, and this is all that is
 * read then. */
static int find_variable(const char *const *environment, char value[SHORT_BYTES], ssize_t *length)
{
    char begins[COUNT_OF(variables) + 1][SHORT_BYTES];
    struct os_variable wanted[COUNT_OF(variables) + 1];
    int found = 0;
    for (size_t i = 0; i < COUNT_OF(wanted); i++)
        wanted[i] = (struct os_variable){i < COUNT_OF(variables) ? variables[i].id : launcher, begins[i],
                                         SHORT_BYTES, 0};
    if (read_environment(environment, wanted, COUNT_OF(wanted)) != 0)
        return -1;
    while ((size_t)found < COUNT_OF(wanted) && wanted[found].length <= 0)
        found++;
    if ((size_t)found < COUNT_OF(wanted)) {
        *length = wanted[found].length;
        memcpy(value, begins[found], SHORT_BYTES);
    }
    return found;
}

static NEVER_INLINE int read_variable(const char *const *environment, char out[64], const char *id,
                                      const char *part)
{
    char value[VALUE_BYTES + PART_BYTES] = "", number[PART_BYTES] = "";
    struct os_variable wanted[] = {{id, value, VALUE_BYTES, 0},
                                   {part != NULL ? part : "", number, sizeof number, 0}};
    if (read_environment(environment, wanted, COUNT_OF(wanted)) != 0)
        return -1;
    if (os_number_after(number, "", 0) != 0)
        error_format(value + strlen(value), PART_BYTES, "_%s", number);
    segment_set_job(out, value);
    return 0;
}

static NEVER_INLINE int name_launcher(const char *const *environment, char out[64])
{
    char value[32] = "";
    struct os_variable wanted = {launcher, value, sizeof value, 0};
    if (read_environment(environment, &wanted, 1) != 0)
        return -1;
    const bool is_number = value[0] >= '0' && value[0] <= '9';
    const int32_t process = is_number ? os_socket_maker((int)os_number_after(value, "", 0)) : 0;
    if (process > 0) {
        error_format(value, sizeof value, "pmi-%d", process);
        segment_set_job(out, value);
    }
    return 0;
}

static int read_job(const char *const *environment, char out[64])
{
    out[0] = '\0';
    char value[SHORT_BYTES];
    ssize_t length = 0;
    const int found = find_variable(environment, value, &length);
    if (found < 0 || (size_t)found > COUNT_OF(variables))
        return found < 0 ? -1 : 0;
    if ((size_t)found == COUNT_OF(variables))
        return name_launcher(environment, out);
    if (variables[found].part != NULL || length == (ssize_t)SHORT_BYTES - 1)
        return read_variable(environment, out, variables[found].id, variables[found].part);
    segment_set_job(out, value);
    return 0;
}

static int find_job(const char *const *environment, char out[64])
{
    static struct {
        _Atomic uint32_t state; /* 0 unknown, 1 being written by one thread, 2 known */
        char job[64];
    } known;
    if (atomic_load_explicit(&known.state, memory_order_acquire) == 2) {
        memcpy(out, known.job, sizeof known.job);
        return 0;
    }
    if (read_job(environment, out) != 0)
        return -1;
    uint32_t unknown = 0;
    if (atomic_compare_exchange_strong(&known.state, &unknown, 1)) {
        memcpy(known.job, out, sizeof known.job);
        atomic_store_explicit(&known.state, 2, memory_order_release);
    }
    return 0;
}

int segment_find_job(char out[64])
{
    return find_job(NULL, out);
}

void segment_learn_job(const char *const *environment)
{
    char job[64];
    (void)find_job(environment, job);
}

void segment_path(char out[512], const char *directory, uid_t uid, const char *job, const char *name)
{
    error_format(out, 512, "%s/shmcore.%u.%s.%s", directory, uid, job, name);
}

bool segment_parse_file_name(const char *file_name, uid_t *uid, char job[64], char name[96])
{
    static const char prefix[] = "shmcore.";
    if (strncmp(file_name, prefix, sizeof prefix - 1) != 0)
        return false;
    const char *at = file_name + sizeof prefix - 1;
    uint64_t number = 0;
    const char *digits = at;
    while (*at >= '0' && *at <= '9' && number <= UINT32_MAX)
        number = number * 10 + (uint64_t)(*at++ - '0');
    const char *dot = *at == '.' ? strchr(at + 1, '.') : NULL;
    if (at == digits || number > UINT32_MAX || dot == NULL || dot - at - 1 >= 64 || strlen(dot + 1) >= 96 ||
        strstr(dot + 1, "SHARED") == NULL)
        return false;
    *uid = (uid_t)number;
    memcpy(job, at + 1, (size_t)(dot - at - 1));
    job[dot - at - 1] = '\0';
    strcpy(name, dot + 1);
    return true;
}
