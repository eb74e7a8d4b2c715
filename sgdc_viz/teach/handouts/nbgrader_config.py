"""nbgrader's settings for this course folder: run its commands here. INSTRUCTOR.md lists them."""

c = get_config()  # noqa: F821 (nbgrader provides it)

c.CourseDirectory.course_id = "sgdc"
# Notebook 05 trains two small networks in one cell, which takes longer than nbgrader's 30 seconds.
c.Execute.timeout = 300
