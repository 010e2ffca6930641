/* One person in an epidemic: an agent that lives day by day and meets others by messages.
 *
 * Everybody lives on a torus of width * height places, one person a place. Whoever is infectious
 * coughs at four others each day: at neighbours mostly, now and then at anybody. Each cough that
 * reaches somebody susceptible infects with a chance of one in seven.
 *
 * The result tells the story: the day of infection, and the day of recovery in the upper half;
 * NEVER where it did not happen.
 */

#define FROM_SWARM(name) __attribute__((import_module("stigmergy"), import_name(name)))

FROM_SWARM("agent_id") unsigned agent_id(void);
FROM_SWARM("random") unsigned long long random_bits(void);
FROM_SWARM("send") int send(unsigned to, const void *content, unsigned size);
FROM_SWARM("receive") long long receive(void *content, unsigned capacity);
FROM_SWARM("wait") void wait_for_tomorrow(void);

enum state { SUSCEPTIBLE, EXPOSED, INFECTIOUS, RECOVERED };

enum {
  COUGHS = 4,      /* a day */
  REACH = 2,       /* how far neighbours are, in places */
  TRAVEL = 900,    /* one cough in so many goes anywhere */
  CHANCE = 7,      /* one in so many infects */
  NEVER = 0xffff,
};

/* A number from 0 below `limit`, by the upper bits of 32. */
static unsigned below(unsigned limit) {
  return (unsigned)(((random_bits() >> 32) * limit) >> 32);
}

static unsigned someone_met(unsigned me, unsigned width, unsigned height) {
  if (below(TRAVEL) == 0) return below(width * height);
  unsigned x = (me % width + width + below(2 * REACH + 1) - REACH) % width;
  unsigned y = (me / width + height + below(2 * REACH + 1) - REACH) % height;
  return y * width + x;
}

static void cough(unsigned me, unsigned width, unsigned height) {
  const unsigned char content = 1;
  for (int times = 0; times < COUGHS; times++) {
    unsigned met = someone_met(me, width, height);
    if (met != me) send(met, &content, 1);
  }
}

static int coughs_received(void) {
  unsigned char content;
  int count = 0;
  while (receive(&content, 1) >= 0) count++;
  return count;
}

__attribute__((export_name("live")))
unsigned live(unsigned width, unsigned height, unsigned days, unsigned first) {
  unsigned me = agent_id();
  unsigned infected = NEVER, recovered = NEVER, until = 0;
  enum state state = SUSCEPTIBLE;
  if (me == first) {
    state = INFECTIOUS;
    infected = 0;
    until = 7;
  }
  for (unsigned day = 1; day <= days; day++) {
    if (state == INFECTIOUS) cough(me, width, height);
    wait_for_tomorrow();
    int coughs = coughs_received();
    if (state == SUSCEPTIBLE) {
      while (coughs-- > 0 && state == SUSCEPTIBLE) {
        if (below(CHANCE) == 0) {
          state = EXPOSED;
          infected = day;
          until = day + 2 + below(3);
        }
      }
    } else if (state == EXPOSED && day >= until) {
      state = INFECTIOUS;
      until = day + 4 + below(5);
    } else if (state == INFECTIOUS && day >= until) {
      state = RECOVERED;
      recovered = day;
    }
  }
  return recovered << 16 | infected;
}
