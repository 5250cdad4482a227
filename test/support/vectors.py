# SPDX-License-Identifier: Apache-2.0
"""Messages of numbers for small bags: each says by its values when it is of."""

import numpy as np
from support import bags

T = bags.T
G = {
    name: T[f'geometry_msgs/msg/{name}']
    for name in ('Vector3', 'Point', 'Quaternion', 'Pose', 'Twist', 'Wrench', 'Accel')
}


def vector(*xyz):
    return G['Vector3'](*map(float, xyz))


def quaternion(radians, sign=1.0):
    """A turn about z."""
    return G['Quaternion'](0.0, 0.0, sign * np.sin(radians / 2), sign * np.cos(radians / 2))


def pose(ms, sign=1.0):
    return G['Pose'](G['Point'](float(ms), 0.0, 1.0), quaternion(ms / 1000, sign))


def twist(ms):
    return G['Twist'](vector(ms, 0, -ms), vector(0, 1, 2))


def twist_stamped(ms):
    return T['geometry_msgs/msg/TwistStamped'](bags.header(ms), twist(ms))


def pose_stamped(ms, sign=1.0):
    return T['geometry_msgs/msg/PoseStamped'](bags.header(ms), pose(ms, sign))


def odometry(ms):
    covariance = np.zeros(36)
    return T['nav_msgs/msg/Odometry'](
        bags.header(ms),
        'base_link',
        T['geometry_msgs/msg/PoseWithCovariance'](pose(ms), covariance),
        T['geometry_msgs/msg/TwistWithCovariance'](twist(ms), covariance),
    )


def wrench(ms):
    return T['geometry_msgs/msg/WrenchStamped'](bags.header(ms), G['Wrench'](vector(ms, 1, 2), vector(3, 4, -ms)))


def accel(ms):
    return T['geometry_msgs/msg/AccelStamped'](bags.header(ms), G['Accel'](vector(ms, 0, 9.8), vector(0, 0, ms)))


def joint_state(ms, names=('shoulder', 'elbow'), arrays=('position', 'velocity', 'effort')):
    """The position of a joint is its number times ms, its velocity 10 more, its effort 20 more."""
    order = ['shoulder', 'elbow', 'wrist']
    base = np.array([order.index(name) * ms for name in names], float)
    values = {
        name: base + 10 * i if name in arrays else base[:0] for i, name in enumerate(('position', 'velocity', 'effort'))
    }
    return T['sensor_msgs/msg/JointState'](bags.header(ms), list(names), *values.values())


def fix(ms, latitude=48.0, status=0):
    make = T['sensor_msgs/msg/NavSatFix']
    return make(
        bags.header(ms), T['sensor_msgs/msg/NavSatStatus'](status, 1), latitude + ms * 1e-9, 11.0, 500.0, np.zeros(9), 0
    )


def joy(ms, num_axes=2):
    return T['sensor_msgs/msg/Joy'](bags.header(ms), np.full(num_axes, ms, np.float32), np.array([0, 1], np.int32))


def magnetic_field(ms):
    return T['sensor_msgs/msg/MagneticField'](bags.header(ms), vector(ms, 0, 1), np.zeros(9))


def fluid_pressure(ms):
    return T['sensor_msgs/msg/FluidPressure'](bags.header(ms), 101_325.0 + ms, 0.0)


def temperature(ms):
    return T['sensor_msgs/msg/Temperature'](bags.header(ms), 20.0 + ms, 0.0)


def range_(ms, metres=None, limits=(0.1, 4.0)):
    """A sonar's: of 1 m, and 1 mm more every ms."""
    metres = 1 + ms / 1000 if metres is None else metres
    return T['sensor_msgs/msg/Range'](bags.header(ms), 0, 0.1, *limits, metres, *([0.0] * HAS_VARIANCE))


def battery(ms):
    nan, empty = float('nan'), np.zeros(0, np.float32)
    return T['sensor_msgs/msg/BatteryState'](
        bags.header(ms), float(ms), nan, nan, nan, nan, nan, nan, 0, 0, 0, True, empty, empty, '', ''
    )


def multi_array(ms, bits=32, size=3):
    layout = T['std_msgs/msg/MultiArrayLayout']([], 0)
    return T[f'std_msgs/msg/Float{bits}MultiArray'](layout, np.full(size, ms, f'float{bits}'))


HAS_VARIANCE = 'variance' in {name for name, _ in bags.STORE.fielddefs['sensor_msgs/msg/Range'][1]}
