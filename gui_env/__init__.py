"""GUI worlds: applications drawn by our own widget toolkit. Importing registers every task with gymnasium."""

from __future__ import annotations

import gymnasium as gym

from gui_env.tasks.choose_option import ChooseOption
from gui_env.tasks.click_button import ClickButton
from gui_env.tasks.click_icon import ClickIcon
from gui_env.tasks.dismiss_popup import DismissPopup
from gui_env.tasks.login_form import LoginForm
from gui_env.tasks.scroll_select import ScrollSelect
from gui_env.tasks.set_checkboxes import SetCheckboxes
from gui_env.tasks.set_slider import SetSlider
from gui_env.tasks.type_text import TypeText
from gui_env.tasks.wizard import Wizard
from gui_env.world import GuiWorld

TASKS: dict[str, type[GuiWorld]] = {
    task.task_id: task
    for task in (
        ClickButton,
        LoginForm,
        ScrollSelect,
        DismissPopup,
        ClickIcon,
        SetCheckboxes,
        TypeText,
        ChooseOption,
        SetSlider,
        Wizard,
    )
}
"""Every GUI task by its id. A new one is one file and one name in this list."""

for _id, _task in TASKS.items():
    if _id not in gym.registry:
        gym.register(_id, entry_point=f"{_task.__module__}:{_task.__name__}")
